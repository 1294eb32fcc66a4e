package tx

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/crypto/ed25519"
)

func halted(t testing.TB, keys ...ed25519.PrivKey) *Governance {
	t.Helper()
	g := &Governance{
		Body:       Body{Action: Action{Halt: &Reason{Reason: "incident 7"}}, ChainID: "jil-test", Nonce: 1},
		Signatures: []Signature{},
		Type:       TypeGovernance,
	}
	for _, key := range keys {
		if err := g.Sign(key); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func encoded(t testing.TB, value any) []byte {
	t.Helper()
	raw, err := Encode(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestWhatIsEncodedDecodesToTheSame(t *testing.T) {
	key := ed25519.GenPrivKeyFromSecret([]byte("a"))
	for _, value := range []any{
		halted(t, key),
		&Transfers{NodeID: "CH-ZUG-01", Sequence: 18446744073709551615, SHA256: strings.Repeat("0f", 32), Type: TypeTransfers},
	} {
		decoded, err := Decode(encoded(t, value))
		if err != nil {
			t.Fatalf("%T: %v", value, err)
		}
		if !bytes.Equal(encoded(t, decoded), encoded(t, value)) {
			t.Errorf("%T changed on the way", value)
		}
	}
}

// The bytes that other languages must produce: json.dumps(body, sort_keys=True, separators=(",", ":")).
func TestSignedBytesAreTheDomainAndSortedCompactJSON(t *testing.T) {
	body := Body{
		Action:  Action{Validators: []ValidatorUpdate{{Power: 5, PubKey: bytes.Repeat([]byte{7}, 32)}}},
		ChainID: "jil-test",
		Nonce:   3,
	}
	got, err := body.SignBytes()
	if err != nil {
		t.Fatal(err)
	}
	want := "jil/gov/v1\n" + `{"action":{"validators":[{"power":5,"pubKey":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="}]},"chainId":"jil-test","nonce":3}`
	if string(got) != want {
		t.Errorf("signed bytes\n got %s\nwant %s", got, want)
	}
}

func TestEveryKeyOfTheWireFormatIsInSortedOrder(t *testing.T) {
	full := &Governance{
		Body: Body{Action: Action{
			Halt: &Reason{"r"}, Resume: &Reason{"r"}, Params: &Params{Block: &BlockParams{}, Evidence: &EvidenceParams{}},
			Validators: []ValidatorUpdate{{}},
		}},
		Signatures: []Signature{{}},
	}
	for _, value := range []any{full, &Transfers{}} {
		var generic any
		raw := encoded(t, value)
		if err := json.Unmarshal(raw, &generic); err != nil {
			t.Fatal(err)
		}
		if sorted := encoded(t, generic); !bytes.Equal(raw, sorted) {
			t.Errorf("keys of %T are not sorted\n got %s\nwant %s", value, raw, sorted)
		}
	}
}

func TestMalformedBytesAreRefusedWithoutPanic(t *testing.T) {
	a, b := ed25519.GenPrivKeyFromSecret([]byte("a")), ed25519.GenPrivKeyFromSecret([]byte("b"))
	good := string(encoded(t, halted(t, a, b)))
	unsorted := halted(t, a, b)
	unsorted.Signatures[0], unsorted.Signatures[1] = unsorted.Signatures[1], unsorted.Signatures[0]
	short := halted(t, a)
	short.Signatures[0].Signature = short.Signatures[0].Signature[:63]
	body := func(action string) string {
		return `{"body":{"action":` + action + `,"chainId":"jil-test","nonce":1},"signatures":[],"type":"jil/governance/v1"}`
	}
	key := `"pubKey":"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc="`
	for name, raw := range map[string]string{
		"nothing":              "",
		"null":                 "null",
		"a number":             "7",
		"an array":             "[]",
		"deep nesting":         strings.Repeat("[", 60000),
		"no type":              "{}",
		"unknown type":         `{"type":"kv"}`,
		"kvstore's update":     "val=ed25519!AAAA!10",
		"not UTF-8":            strings.Replace(good, "incident", "inc\xffdent", 1),
		"white space":          good + "\n",
		"two values":           good + good,
		"unknown key":          strings.Replace(good, `{"body"`, `{"also":1,"body"`, 1),
		"key twice":            strings.Replace(good, `"nonce":1`, `"nonce":2,"nonce":1`, 1),
		"other case":           strings.Replace(good, `"nonce"`, `"Nonce"`, 1),
		"too long":             strings.Replace(good, "incident", strings.Repeat("x", MaxBytes), 1),
		"nonce zero":           strings.Replace(good, `"nonce":1`, `"nonce":0`, 1),
		"negative nonce":       strings.Replace(good, `"nonce":1`, `"nonce":-1`, 1),
		"float nonce":          strings.Replace(good, `"nonce":1`, `"nonce":1.0`, 1),
		"bad chain id":         strings.Replace(good, "jil-test", "JIL TEST", 1),
		"no action":            body("{}"),
		"two actions":          body(`{"halt":{"reason":"a"},"resume":{"reason":"b"}}`),
		"empty reason":         body(`{"halt":{"reason":""}}`),
		"control character":    body(`{"halt":{"reason":"a\u0007"}}`),
		"long reason":          body(`{"halt":{"reason":"` + strings.Repeat("x", 201) + `"}}`),
		"no update":            body(`{"validators":[]}`),
		"short key":            body(`{"validators":[{"power":1,"pubKey":"BwcH"}]}`),
		"negative power":       body(`{"validators":[{"power":-1,` + key + `}]}`),
		"too much power":       body(`{"validators":[{"power":1000000001,` + key + `}]}`),
		"overflowing power":    body(`{"validators":[{"power":9223372036854775808,` + key + `}]}`),
		"validator twice":      body(`{"validators":[{"power":1,` + key + `},{"power":2,` + key + `}]}`),
		"empty params":         body(`{"params":{}}`),
		"signatures missing":   `{"body":{"action":{"halt":{"reason":"a"}},"chainId":"jil-test","nonce":1},"type":"jil/governance/v1"}`,
		"signatures unsorted":  string(encoded(t, unsorted)),
		"short signature":      string(encoded(t, short)),
		"transfers: node":      `{"nodeId":"../x","sequence":1,"sha256":"` + strings.Repeat("0f", 32) + `","type":"jil/transfers/v1"}`,
		"transfers: sha256":    `{"nodeId":"CH-ZUG-01","sequence":1,"sha256":"` + strings.Repeat("0F", 32) + `","type":"jil/transfers/v1"}`,
		"transfers: key order": `{"sequence":1,"nodeId":"CH-ZUG-01","sha256":"` + strings.Repeat("0f", 32) + `","type":"jil/transfers/v1"}`,
	} {
		if decoded, err := Decode([]byte(raw)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: got %v, %v; want ErrMalformed", name, decoded, err)
		}
	}
}

func TestSigningAgainReplacesAndKeepsTheOrder(t *testing.T) {
	keys := []ed25519.PrivKey{}
	for _, secret := range []string{"a", "b", "c", "a"} {
		keys = append(keys, ed25519.GenPrivKeyFromSecret([]byte(secret)))
	}
	g := halted(t, keys...)
	if len(g.Signatures) != 3 {
		t.Fatalf("%d signatures of 3 keys", len(g.Signatures))
	}
	if _, err := Decode(encoded(t, g)); err != nil {
		t.Error(err)
	}
}

func FuzzDecodeNeverPanicsAndIsCanonical(f *testing.F) {
	f.Add(encoded(f, halted(f, ed25519.GenPrivKeyFromSecret([]byte("a")))))
	f.Add([]byte(`{"nodeId":"CH-ZUG-01","sequence":1,"sha256":"` + strings.Repeat("0f", 32) + `","type":"jil/transfers/v1"}`))
	f.Add([]byte("val=ed25519!AAAA!10"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		decoded, err := Decode(raw)
		if err != nil {
			return
		}
		if again := encoded(t, decoded); !bytes.Equal(raw, again) {
			t.Errorf("two encodings of one transaction:\n%q\n%q", raw, again)
		}
	})
}
