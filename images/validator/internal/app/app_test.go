package app

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/types"

	"jil.io/validator/internal/tx"
)

func TestTransfersSequenceMustRise(t *testing.T) {
	c := newChain(t, 1)
	c.mustBlock(c.encode(transfersTx(5)), c.encode(transfersTx(7)))
	for _, sequence := range []uint64{0, 5, 6, 7} {
		if code := c.check(c.encode(transfersTx(sequence))); code != CodeStale {
			t.Errorf("sequence %d: code %d, want %d", sequence, code, CodeStale)
		}
	}
	want := `{"height":1,"sequence":7,"sha256":"` + digestOf('a') + `"}`
	if got := string(c.query("/state/CH-ZUG-01").Value); got != want {
		t.Errorf("/state/CH-ZUG-01 says %s, want %s", got, want)
	}
	if answer := c.query("/state/CH-ZUG-02"); answer.Code == 0 {
		t.Error("/state of an unknown node answers code 0")
	}
}

func TestTheNumberOfRecordedNodesIsBounded(t *testing.T) {
	c := newChain(t, 1)
	for i := range maxNodes {
		c.app.committed.State.Nodes[fmt.Sprint(i)] = transfers{}
	}
	if code := c.check(c.encode(transfersTx(1))); code != CodeFull {
		t.Errorf("code %d, want %d", code, CodeFull)
	}
}

func TestEvidenceIsRecordedAndTakesNoPower(t *testing.T) {
	c := newChain(t, 4)
	misbehavior := []abci.Misbehavior{misbehaved(c.keys[2], 1)}
	response, err := c.app.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{Height: 1, Misbehavior: misbehavior})
	if err != nil {
		t.Fatal(err)
	}
	if len(response.ValidatorUpdates) != 0 {
		t.Errorf("evidence changed voting power: %v", response.ValidatorUpdates)
	}
	if _, err := c.app.Commit(context.Background(), &abci.RequestCommit{}); err != nil {
		t.Fatal(err)
	}
	got := string(c.query("/evidence").Value)
	if !strings.Contains(got, c.keys[2].PubKey().Address().String()) || !strings.Contains(got, "DUPLICATE_VOTE") {
		t.Errorf("/evidence says %s", got)
	}
}

func TestEvidenceIsBoundedAndKeepsTheNewest(t *testing.T) {
	s := emptyState()
	key := newKey("bad")
	for height := range int64(maxEvidence + 10) {
		s.recordEvidence(misbehaved(key, height), height+1)
	}
	if len(s.Evidence) != maxEvidence || s.Evidence[maxEvidence-1].Height != maxEvidence+9 {
		t.Errorf("%d entries, the last of height %d", len(s.Evidence), s.Evidence[len(s.Evidence)-1].Height)
	}
}

// Two applications that see the same blocks have the same hash after each, whatever they did in between.
func TestAppHashIsDeterministic(t *testing.T) {
	a, b := newChain(t, 7), newChain(t, 7)
	random := rand.New(rand.NewSource(1))
	for height := range 60 {
		txs := [][]byte{{byte(height)}}
		for range 5 {
			node := fmt.Sprintf("CH-ZUG-%02d", random.Intn(20))
			txs = append(txs, a.encode(&tx.Transfers{
				NodeID: node, Sequence: uint64(random.Intn(100)), SHA256: digestOf('b'), Type: tx.TypeTransfers,
			}))
		}
		if height%10 == 0 {
			txs = append(txs, a.signed(power(newKey(fmt.Sprint(height)), int64(height+1)), 7))
		}
		b.check(txs[0])
		b.process(txs...)
		b.prepare(txs...)
		one, two := a.block(txs...), b.block(txs...)
		if !bytes.Equal(one.AppHash, two.AppHash) {
			t.Fatalf("hashes differ at height %d", height+1)
		}
		for i := range one.TxResults {
			if one.TxResults[i].Code != two.TxResults[i].Code {
				t.Fatalf("codes differ at height %d", height+1)
			}
		}
		if height%7 == 0 {
			b.app = b.open() // a restart in between
		}
	}
}

// The hash of a known state, computed once: a change of it is a change of the protocol (Version must rise).
func TestAppHashOfAKnownStateStays(t *testing.T) {
	c := newChain(t, 2)
	c.mustBlock(c.encode(transfersTx(1)))
	response := c.mustBlock(c.signed(haltAction(), 2))
	const want = "afeb182d5e2496d2f4655c4d8fb3b2c0acef8df222bd5e2a49ad93a8f8125b66"
	if got := hex.EncodeToString(response.AppHash); got != want {
		t.Errorf("app hash %s, want %s: nodes of the two versions cannot be in one chain", got, want)
	}
}

func TestEmptyBlocksLeaveTheHash(t *testing.T) {
	c := newChain(t, 1)
	first := c.mustBlock().AppHash
	if second := c.mustBlock().AppHash; !bytes.Equal(first, second) {
		t.Error("an empty block changed the hash")
	}
}

func TestACrashBetweenFinalizeAndCommitLosesNothingAndReplays(t *testing.T) {
	c := newChain(t, 4)
	c.mustBlock(c.encode(transfersTx(1)))
	raw := c.signed(power(newKey("joining"), 5), 4)
	lost := c.finalize(raw)
	c.app = c.open() // killed before Commit
	info, err := c.app.Info(context.Background(), &abci.RequestInfo{})
	if err != nil || info.LastBlockHeight != 1 {
		t.Fatalf("height %d, %v; want 1", info.LastBlockHeight, err)
	}
	again := c.mustBlock(raw)
	if !bytes.Equal(lost.AppHash, again.AppHash) || len(again.ValidatorUpdates) != 1 {
		t.Error("the replayed block came out differently")
	}
	c.app = c.open() // killed after Commit
	info, err = c.app.Info(context.Background(), &abci.RequestInfo{})
	if err != nil || info.LastBlockHeight != 2 || !bytes.Equal(info.LastBlockAppHash, again.AppHash) {
		t.Errorf("height %d, hash %X, %v", info.LastBlockHeight, info.LastBlockAppHash, err)
	}
	if code := c.check(raw); code != CodeReplay {
		t.Errorf("replay after a restart: code %d, want %d", code, CodeReplay)
	}
}

func TestAFullVolumeFailsTheCommitAndKeepsTheLastOne(t *testing.T) {
	c := newChain(t, 1)
	c.mustBlock()
	whole := c.db
	c.db = brokenDB{whole}
	c.app = c.open()
	c.finalize(c.encode(transfersTx(1)))
	if _, err := c.app.Commit(context.Background(), &abci.RequestCommit{}); err == nil || !strings.Contains(err.Error(), "is the volume full?") {
		t.Errorf("commit: %v", err)
	}
	c.db = whole
	c.app = c.open()
	if c.app.committed.Height != 1 {
		t.Errorf("height %d after the failed commit, want 1", c.app.committed.Height)
	}
}

func TestADamagedDatabaseIsRefusedWithTheRemedy(t *testing.T) {
	c := newChain(t, 1)
	c.mustBlock()
	raw, _ := c.db.Get(stateKey)
	for _, damage := range []string{"{}", "x", strings.Replace(string(raw), `"power":10`, `"power":99`, 1)} {
		if err := c.db.Set(stateKey, []byte(damage)); err != nil {
			t.Fatal(err)
		}
		if _, err := New(c.db, nobody{}, log.NewNopLogger()); err == nil || !strings.Contains(err.Error(), "keep data/priv_validator_state.json") {
			t.Errorf("opened on %q: %v", damage, err)
		}
	}
}

func TestABlockThatDoesNotFollowIsRefused(t *testing.T) {
	c := newChain(t, 1)
	c.mustBlock()
	if _, err := c.app.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{Height: 3}); err == nil {
		t.Error("block 3 after height 1 was accepted")
	}
	if _, err := c.app.Commit(context.Background(), &abci.RequestCommit{}); err == nil {
		t.Error("a commit without a block was accepted")
	}
}

func TestAGenesisThatCannotBeHonouredIsRefused(t *testing.T) {
	key := newKey("a").PubKey().Bytes()
	defaults := types.DefaultConsensusParams()
	params := defaults.ToProto()
	good := abci.RequestInitChain{ConsensusParams: &params, Validators: []abci.ValidatorUpdate{abci.UpdateValidator(key, 1, "ed25519")}}
	if _, err := genesisState(&good); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*abci.RequestInitChain){
		"app state":     func(r *abci.RequestInitChain) { r.AppStateBytes = []byte(`{"a":1}`) },
		"no parameters": func(r *abci.RequestInitChain) { r.ConsensusParams = nil },
		"no validators": func(r *abci.RequestInitChain) { r.Validators = nil },
		"no power": func(r *abci.RequestInitChain) {
			r.Validators = []abci.ValidatorUpdate{abci.UpdateValidator(key, 0, "ed25519")}
		},
		"secp256k1": func(r *abci.RequestInitChain) {
			r.Validators = []abci.ValidatorUpdate{abci.UpdateValidator(append([]byte{2}, key...), 1, "secp256k1")}
		},
	} {
		bad := good
		edit(&bad)
		if _, err := genesisState(&bad); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

type only string

func (o only) Allowed(id string) bool { return id == string(o) }

func TestPeerFilterAnswersByNodeIdOnly(t *testing.T) {
	c := newChain(t, 1)
	friend := strings.Repeat("ab", 20)
	c.app.peers = only(friend)
	for path, code := range map[string]uint32{
		"/p2p/filter/id/" + friend:                   0,
		"/p2p/filter/id/" + strings.Repeat("cd", 20): queryRefused,
		"/p2p/filter/id/":                            queryRefused,
		"/p2p/filter/addr/10.0.0.1:1234":             0,
	} {
		if got := c.query(path).Code; got != code {
			t.Errorf("%s: code %d, want %d", path, got, code)
		}
	}
}

func TestQueriesTellTheCommittedState(t *testing.T) {
	c := newChain(t, 1)
	c.mustBlock(c.signed(haltAction(), 1))
	digest := c.app.committed.State.LastDigest
	for path, want := range map[string]string{
		"/nonce": `{"chainId":"jil-test","last":1,"lastDigest":"` + digest + `","next":2}`,
		"/validators": `{"totalPower":10,"validators":[{"address":"` + c.keys[0].PubKey().Address().String() +
			`","power":10,"pubKey":"` + base64.StdEncoding.EncodeToString(c.keys[0].PubKey().Bytes()) + `"}]}`,
		"/evidence": `[]`,
	} {
		got := c.query(path)
		if string(got.Value) != want || got.Height != 1 {
			t.Errorf("%s at %d: %s, want %s", path, got.Height, got.Value, want)
		}
	}
	if answer := c.query("/nothing"); answer.Code == 0 {
		t.Error("an unknown path answers code 0")
	}
}

func FuzzNoTransactionPanicsOrChangesAnythingUnsigned(f *testing.F) {
	f.Add([]byte(`{"body":{"action":{"halt":{"reason":"a"}},"chainId":"jil-test","nonce":1},"signatures":[],"type":"jil/governance/v1"}`))
	f.Add([]byte(`{"nodeId":"CH-ZUG-01","sequence":1,"sha256":"` + digestOf('a') + `","type":"jil/transfers/v1"}`))
	f.Add([]byte("val=ed25519!AAAA!10"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c := newChain(t, 4)
		c.check(raw)
		c.process(raw)
		c.prepare(raw)
		response := c.block(raw)
		if len(response.ValidatorUpdates) != 0 || response.ConsensusParamUpdates != nil || c.app.committed.State.Halt != nil || c.app.committed.State.Nonce != 0 {
			t.Errorf("an unsigned transaction governed: %q", raw)
		}
	})
}
