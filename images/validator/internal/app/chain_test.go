package app

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/libs/log"
	"github.com/cometbft/cometbft/types"

	"jil.io/validator/internal/tx"
)

// chain drives one application as CometBFT does, without CometBFT.
type chain struct {
	t    *testing.T
	app  *Application
	db   dbm.DB
	keys []ed25519.PrivKey // power 10 each
}

type nobody struct{}

func (nobody) Allowed(string) bool { return false }

func newChain(t *testing.T, validators int) *chain {
	t.Helper()
	c := &chain{t: t, db: dbm.NewMemDB()}
	updates := []abci.ValidatorUpdate{}
	for i := range validators {
		key := ed25519.GenPrivKeyFromSecret([]byte{byte(i)})
		c.keys = append(c.keys, key)
		updates = append(updates, abci.UpdateValidator(key.PubKey().Bytes(), 10, "ed25519"))
	}
	c.app = c.open()
	params := types.DefaultConsensusParams().ToProto()
	if _, err := c.app.InitChain(context.Background(), &abci.RequestInitChain{
		ChainId: "jil-test", ConsensusParams: &params, Validators: updates, AppStateBytes: []byte("{}"),
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *chain) open() *Application {
	c.t.Helper()
	application, err := New(c.db, nobody{}, log.NewNopLogger())
	if err != nil {
		c.t.Fatal(err)
	}
	return application
}

func (c *chain) finalize(txs ...[]byte) *abci.ResponseFinalizeBlock {
	c.t.Helper()
	response, err := c.app.FinalizeBlock(context.Background(), &abci.RequestFinalizeBlock{Txs: txs, Height: c.app.committed.Height + 1})
	if err != nil {
		c.t.Fatal(err)
	}
	return response
}

// block finalizes and commits.
func (c *chain) block(txs ...[]byte) *abci.ResponseFinalizeBlock {
	c.t.Helper()
	response := c.finalize(txs...)
	if _, err := c.app.Commit(context.Background(), &abci.RequestCommit{}); err != nil {
		c.t.Fatal(err)
	}
	return response
}

// mustBlock is block where every transaction must succeed.
func (c *chain) mustBlock(txs ...[]byte) *abci.ResponseFinalizeBlock {
	c.t.Helper()
	response := c.block(txs...)
	for i, result := range response.TxResults {
		if result.Code != CodeOK {
			c.t.Fatalf("transaction %d: code %d: %s", i, result.Code, result.Log)
		}
	}
	return response
}

// governance signs the action with the first n keys for the next nonce.
func (c *chain) governance(action tx.Action, n int) *tx.Governance {
	c.t.Helper()
	g := &tx.Governance{
		Body:       tx.Body{Action: action, ChainID: "jil-test", Nonce: c.app.committed.State.Nonce + 1},
		Signatures: []tx.Signature{},
		Type:       tx.TypeGovernance,
	}
	c.sign(g, c.keys[:n]...)
	return g
}

func (c *chain) sign(g *tx.Governance, keys ...ed25519.PrivKey) {
	c.t.Helper()
	for _, key := range keys {
		if err := g.Sign(key); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *chain) encode(value any) []byte {
	c.t.Helper()
	raw, err := tx.Encode(value)
	if err != nil {
		c.t.Fatal(err)
	}
	return raw
}

func (c *chain) signed(action tx.Action, n int) []byte { return c.encode(c.governance(action, n)) }

func (c *chain) check(raw []byte) uint32 {
	c.t.Helper()
	response, err := c.app.CheckTx(context.Background(), &abci.RequestCheckTx{Tx: raw})
	if err != nil {
		c.t.Fatal(err)
	}
	return response.Code
}

func (c *chain) process(txs ...[]byte) abci.ResponseProcessProposal_ProposalStatus {
	c.t.Helper()
	response, err := c.app.ProcessProposal(context.Background(), &abci.RequestProcessProposal{Txs: txs, Height: c.app.committed.Height + 1})
	if err != nil {
		c.t.Fatal(err)
	}
	return response.Status
}

func (c *chain) prepare(txs ...[]byte) [][]byte {
	c.t.Helper()
	response, err := c.app.PrepareProposal(context.Background(), &abci.RequestPrepareProposal{
		Txs: slices.Clone(txs), Height: c.app.committed.Height + 1, MaxTxBytes: 1 << 20,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return response.Txs
}

func (c *chain) query(path string) *abci.ResponseQuery {
	c.t.Helper()
	response, err := c.app.Query(context.Background(), &abci.RequestQuery{Path: path})
	if err != nil {
		c.t.Fatal(err)
	}
	return response
}

func newKey(secret string) ed25519.PrivKey { return ed25519.GenPrivKeyFromSecret([]byte(secret)) }

func power(key ed25519.PrivKey, power int64) tx.Action {
	return tx.Action{Validators: []tx.ValidatorUpdate{{Power: power, PubKey: key.PubKey().Bytes()}}}
}

func haltAction() tx.Action   { return tx.Action{Halt: &tx.Reason{Reason: "incident 7"}} }
func resumeAction() tx.Action { return tx.Action{Resume: &tx.Reason{Reason: "over"}} }

func transfersTx(sequence uint64) *tx.Transfers {
	return &tx.Transfers{NodeID: "CH-ZUG-01", Sequence: sequence, SHA256: digestOf('a'), Type: tx.TypeTransfers}
}

func digestOf(c byte) string { return string(slices.Repeat([]byte{c}, 64)) }

// brokenDB refuses to write, as a full volume does.
type brokenDB struct{ dbm.DB }

type brokenBatch struct{ dbm.Batch }

func (b brokenDB) NewBatch() dbm.Batch { return brokenBatch{b.DB.NewBatch()} }
func (brokenBatch) WriteSync() error   { return errors.New("no space left on device") }
func at(second int) time.Time          { return time.Unix(int64(second), 0) }
func misbehaved(key ed25519.PrivKey, height int64) abci.Misbehavior {
	return abci.Misbehavior{
		Type:      abci.MisbehaviorType_DUPLICATE_VOTE,
		Validator: abci.Validator{Address: key.PubKey().Address(), Power: 10},
		Height:    height,
		Time:      at(int(height)),
	}
}
