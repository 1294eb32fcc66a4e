package govcli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"

	"jil.io/validator/internal/tx"
)

func command(t *testing.T, stdin string, args ...string) (string, error) {
	t.Helper()
	out := &bytes.Buffer{}
	err := Run(context.Background(), args, strings.NewReader(stdin), out, io.Discard)
	return out.String(), err
}

func keyFile(t *testing.T, secret string) (string, ed25519.PrivKey) {
	t.Helper()
	key := ed25519.GenPrivKeyFromSecret([]byte(secret))
	raw, err := cmtjson.Marshal(privval.FilePVKey{Address: key.PubKey().Address(), PubKey: key.PubKey(), PrivKey: key})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, key
}

// node answers as a chain whose last nonce is `last`, and takes one transaction.
type node struct {
	last   uint64
	digest string
	sent   []byte
	refuse string
}

func (n *node) serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			Method string
			Params struct {
				Tx []byte
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&request); err != nil {
			t.Error(err)
		}
		if request.Method == "broadcast_tx_sync" {
			n.sent = request.Params.Tx
			if n.refuse != "" {
				_, _ = fmt.Fprintf(w, `{"result":{"code":3,"log":%q}}`, n.refuse)
				return
			}
			if decoded, err := tx.Decode(n.sent); err == nil {
				digest, _ := decoded.(*tx.Governance).Body.Digest()
				n.digest, n.last = hex.EncodeToString(digest), n.last+1
			}
			_, _ = io.WriteString(w, `{"result":{"code":0}}`)
			return
		}
		value, _ := json.Marshal(map[string]any{"chainId": "jil-test", "last": n.last, "lastDigest": n.digest, "next": n.last + 1})
		_, _ = fmt.Fprintf(w, `{"result":{"response":{"value":%q,"height":"9"}}}`, base64.StdEncoding.EncodeToString(value))
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestProposeSignSubmit(t *testing.T) {
	chain := &node{last: 6}
	url := chain.serve(t)
	file, key := keyFile(t, "a")
	other, _ := keyFile(t, "b")
	pubKey := base64.StdEncoding.EncodeToString(key.PubKey().Bytes())

	text, err := command(t, "", "propose", "--rpc", url, "--validator", pubKey+"=5")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, other, file} {
		if text, err = command(t, text, "sign", "--key", path); err != nil {
			t.Fatal(err)
		}
	}
	said, err := command(t, text, "submit", "--rpc", url, "--timeout", "5s")
	if err != nil || !strings.Contains(said, "carried out: nonce 7, height 9") {
		t.Fatalf("%q, %v", said, err)
	}
	decoded, err := tx.Decode(chain.sent)
	if err != nil {
		t.Fatal(err)
	}
	g := decoded.(*tx.Governance)
	message, _ := g.Body.SignBytes()
	if len(g.Signatures) != 2 || g.Body.Nonce != 7 || g.Body.ChainID != "jil-test" || g.Body.Action.Validators[0].Power != 5 {
		t.Errorf("sent %s", chain.sent)
	}
	for _, s := range g.Signatures {
		if s.Address == key.PubKey().Address().String() && !key.PubKey().VerifySignature(message, s.Signature) {
			t.Error("the signature does not fit")
		}
	}
}

func TestSubmitTellsRefusalAndLostNonce(t *testing.T) {
	file, _ := keyFile(t, "a")
	text, err := command(t, "", "propose", "--chain-id", "jil-test", "--nonce", "1", "--halt", "x")
	if err != nil {
		t.Fatal(err)
	}
	if text, err = command(t, text, "sign", "--key", file); err != nil {
		t.Fatal(err)
	}
	refusing := &node{refuse: "signed by 1 of 4"}
	if _, err := command(t, text, "submit", "--rpc", refusing.serve(t)); err == nil || !strings.Contains(err.Error(), "signed by 1 of 4") {
		t.Errorf("refused: %v", err)
	}
	if _, err := command(t, text, "submit", "--rpc", "http://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "cannot reach") {
		t.Errorf("unreachable: %v", err)
	}
}

func TestWrongCallsSayWhatIsWrong(t *testing.T) {
	file, key := keyFile(t, "a")
	good := base64.StdEncoding.EncodeToString(key.PubKey().Bytes())
	base := []string{"propose", "--chain-id", "jil-test", "--nonce", "1"}
	for _, test := range []struct {
		args  []string
		stdin string
		want  string
	}{
		{nil, "", "missing"},
		{[]string{"vote"}, "", "unknown command"},
		{[]string{"propose", "--halt", "x"}, "", "chainId"},
		{base, "", "exactly one"},
		{append(base, "--halt", "x", "--resume", "y"), "", "exactly one"},
		{append(base, "--validator", good), "", ""},
		{append(base, "--validator", good+"=-1"), "", "power"},
		{append(base, "--validator", "AAAA=1"), "", "32 bytes"},
		{append(base, "--params", "{"), "", ""},
		{append(base, "--halt", "x", "more"), "", "unexpected argument"},
		{[]string{"sign"}, "", "--key"},
		{[]string{"sign", "--key", file}, "garbage", "malformed"},
		{[]string{"submit"}, "", "--rpc"},
	} {
		if _, err := command(t, test.stdin, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.args, err, test.want)
		}
	}
	if _, err := command(t, "", "vote"); !errors.Is(err, ErrUsage) {
		t.Errorf("%v is not ErrUsage", err)
	}
}
