package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"jil.io/validator/internal/guard"
	"jil.io/validator/internal/volume"
)

// patience is the deadline of one step; a machine with a core to spare needs a second or two.
const patience = 60 * time.Second

func transfer(node string, sequence int) string {
	return fmt.Sprintf(`{"nodeId":%q,"sequence":%d,"sha256":%q,"type":"jil/transfers/v1"}`, node, sequence, strings.Repeat("ab", 32))
}

// One network of four validators with the real program, on loopback: what the parts promise, together and in order.
func TestANetworkOfFourIsGovernedByTwoThirdsAndFiltersItsPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts five processes")
	}
	founders := []*member{}
	for i := range 4 {
		founders = append(founders, newMember(t, fmt.Sprintf("founder-%d", i)))
	}
	outsider := newMember(t, "outsider")
	everybody := append(founders[:4:4], outsider)
	document := genesis(t, founders)
	for _, m := range everybody {
		m.configure(document, founders)
		m.allow(everybody...)
		if said, err := m.guard(guard.Create, 0); err != nil {
			t.Fatalf("guard: %v: %s", err, said)
		}
	}
	for _, m := range founders {
		m.allow(founders...)
		m.start()
	}
	first := founders[0]
	risen := func(m *member, above int64) func() bool { return func() bool { return m.height() > above } }
	for _, m := range founders {
		eventually(t, patience, m.name+" makes blocks", risen(m, 2))
	}

	t.Run("a second process on the same volume is refused", func(t *testing.T) {
		said, err := first.run(20*time.Second, "", first.startArgs()...)
		if err == nil || !strings.Contains(said, "volume is in use") {
			t.Errorf("%v: %s", err, said)
		}
		said, err = first.guard(guard.Require, 0)
		if err == nil || !strings.Contains(said, "volume is in use") {
			t.Errorf("guard: %v: %s", err, said)
		}
	})

	t.Run("an outsider with the right genesis is refused", func(t *testing.T) {
		outsider.start()
		eventually(t, patience, "a founder refuses it", func() bool {
			return first.logged("peer refused") && first.logged(outsider.id())
		})
		time.Sleep(2 * time.Second) // several dials
		if peers, height := outsider.peers(), outsider.height(); peers != 0 || height != 0 {
			t.Errorf("it has %d peers and height %d", peers, height)
		}
	})

	t.Run("once listed it connects and catches up without any restart", func(t *testing.T) {
		for _, m := range founders {
			m.allow(everybody...)
		}
		now := first.height()
		eventually(t, patience, "it catches up", risen(outsider, now))
	})

	var admission string
	t.Run("an update signed by half the power is refused, by three quarters it votes two blocks later", func(t *testing.T) {
		change := []string{"--validator", pubKey(outsider) + "=10"}
		said, err := submit(t, first, governance(t, first, founders[:2], change...))
		if err == nil || !strings.Contains(said, "refused with code 6") {
			t.Fatalf("%v: %s", err, said)
		}
		admission = governance(t, first, founders[:3], change...)
		mustSubmit(t, first, admission)
		height := first.transactionHeight(admission)
		eventually(t, patience, "two blocks later", risen(first, height+2))
		if power := first.validatorPower(outsider, height+1); power != 0 {
			t.Errorf("power %d already one block later", power)
		}
		if power := first.validatorPower(outsider, height+2); power != 10 {
			t.Errorf("power %d two blocks later, want 10", power)
		}
		eventually(t, patience, "its signature is in a commit", func() bool { return signs(first, outsider) })
	})

	t.Run("halt refuses ordinary transactions while blocks go on, resume ends it", func(t *testing.T) {
		if code, log := first.send(transfer("CH-ZUG-01", 1)); code != 0 {
			t.Fatalf("before the halt: code %d: %s", code, log)
		}
		mustSubmit(t, first, governance(t, first, everybody[1:], "--halt", "incident 7"))
		if code, log := first.send(transfer("CH-ZUG-01", 2)); code != 9 || !strings.Contains(log, "incident 7") {
			t.Errorf("while halted: code %d: %s", code, log)
		}
		eventually(t, patience, "empty blocks", risen(first, first.height()+2))
		mustSubmit(t, first, governance(t, first, everybody[:4], "--resume", "over"))
		if code, log := first.send(transfer("CH-ZUG-01", 3)); code != 0 {
			t.Errorf("after the resume: code %d: %s", code, log)
		}
		for _, m := range everybody {
			eventually(t, patience, "recorded at "+m.name, func() bool {
				return strings.Contains(m.query("/state/CH-ZUG-01"), `"sequence":3`)
			})
		}
	})

	t.Run("consensus parameters change", func(t *testing.T) {
		mustSubmit(t, first, governance(t, first, everybody[:4], "--params", `{"block":{"maxBytes":2097152,"maxGas":-1}}`))
		eventually(t, patience, "the parameters", func() bool {
			var answer struct {
				Params struct {
					Block struct {
						MaxBytes string `json:"max_bytes"`
					}
				} `json:"consensus_params"`
			}
			return first.get("/consensus_params", &answer) == nil && answer.Params.Block.MaxBytes == "2097152"
		})
	})

	t.Run("SIGTERM ends with code 0, and after the restart a replay is still refused", func(t *testing.T) {
		if err := first.terminate(); err != nil {
			t.Fatalf("exit: %v", err)
		}
		signed, err := volume.SignedHeight(first.home)
		if err != nil || signed < 3 {
			t.Fatalf("sign state at %d, %v", signed, err)
		}
		if said, err := first.guard(guard.Require, signed+1); err == nil || !strings.Contains(said, "SignStateLost") {
			t.Errorf("a permit for a height above the sign state: %v: %s", err, said)
		}
		if said, err := first.guard(guard.Require, signed); err != nil {
			t.Fatalf("guard: %v: %s", err, said)
		}
		first.start()
		eventually(t, patience, "it goes on", risen(first, founders[1].height()))
		if code, log := first.send(admission); code != 3 {
			t.Errorf("replay: code %d: %s", code, log)
		}
	})

	t.Run("taken from the list it loses its sessions", func(t *testing.T) {
		mustSubmit(t, first, governance(t, first, everybody[:4], "--validator", pubKey(outsider)+"=0"))
		for _, m := range founders {
			m.allow(founders...)
		}
		eventually(t, patience, "no peer is left", func() bool { return outsider.peers() == 0 })
		outsider.kill()
	})

	t.Run("all killed at once, all come back", func(t *testing.T) {
		for _, m := range founders {
			m.kill()
		}
		before := volumeHeight(t, first)
		for _, m := range founders {
			m.start()
		}
		for _, m := range founders {
			eventually(t, patience, m.name+" goes on", risen(m, before+2))
		}
		if got := first.query("/nonce"); !strings.Contains(got, `"last":5,`) {
			t.Errorf("/nonce says %s", got)
		}
	})

	t.Run("a permit to check starts only once the key is absent from the newest blocks", func(t *testing.T) {
		last := founders[3]
		if err := last.terminate(); err != nil {
			t.Fatal(err)
		}
		if said, err := last.guard(guard.Check, 1); err != nil {
			t.Fatalf("guard: %v: %s", err, said)
		}
		last.start()
		if err := last.wait(patience); err == nil || !last.logged("found signature from the same key") {
			t.Fatalf("it ended with %v, want the double sign check to end it", err)
		}
		eventually(t, patience, "twelve blocks without it", risen(first, first.height()+12))
		last.start()
		eventually(t, patience, "it votes again", func() bool { return signs(first, last) })
		eventually(t, patience, "the check is over", func() bool {
			wanted, err := volume.DoubleSignCheckRequested(last.home)
			return err == nil && !wanted
		})
	})
}

// signs tells whether the newest commit that `at` knows holds a signature of m.
func signs(at, m *member) bool {
	var answer struct {
		SignedHeader struct {
			Commit struct {
				Signatures []struct {
					Flag    int    `json:"block_id_flag"`
					Address string `json:"validator_address"`
				}
			}
		} `json:"signed_header"`
	}
	if err := at.get("/commit", &answer); err != nil {
		return false
	}
	for _, signature := range answer.SignedHeader.Commit.Signatures {
		if signature.Flag == 2 && signature.Address == m.address() {
			return true
		}
	}
	return false
}

func volumeHeight(t *testing.T, m *member) int64 {
	t.Helper()
	height, err := volume.SignedHeight(m.home)
	if err != nil {
		t.Fatal(err)
	}
	return height
}

func TestStartWithoutASignStateIsRefusedAndMakesNone(t *testing.T) {
	m := newMember(t, "alone")
	m.configure(genesis(t, []*member{m}), nil)
	m.allow()
	said, err := m.run(20*time.Second, "", m.startArgs()...)
	if err == nil || !strings.Contains(said, "start never makes one") {
		t.Errorf("%v: %s", err, said)
	}
	if _, err := os.Stat(volume.SignStatePath(m.home)); err == nil {
		t.Error("it made a sign state")
	}
}

func TestVersionNamesTheLinkedCometBFT(t *testing.T) {
	out, errs := &bytes.Buffer{}, &bytes.Buffer{}
	if code := dispatch(t.Context(), []string{"version"}, nil, out, errs); code != 0 {
		t.Fatalf("code %d: %s", code, errs)
	}
	var versions map[string]any
	if err := json.Unmarshal(out.Bytes(), &versions); err != nil || !strings.Contains(fmt.Sprint(versions["cometbft"]), "0.38.26") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestWrongCallsEndWithCode2AndTheReason(t *testing.T) {
	for _, args := range [][]string{nil, {"run"}, {"guard"}, {"guard", "--pod-uid", "x", "more"}, {"gov"}} {
		out, errs := &bytes.Buffer{}, &bytes.Buffer{}
		if code := dispatch(t.Context(), args, strings.NewReader(""), out, errs); code != 2 || errs.Len() == 0 {
			t.Errorf("%v: code %d, %q", args, code, errs)
		}
	}
}
