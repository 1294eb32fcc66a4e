// Package app is jil-abci, the state machine that the chain replicates: the validator set and how it changes,
// halt and resume, the nodes' transfers hashes, proven misbehaviour, and which peers may connect.
//
// Everything that decides is deterministic: no clock, no randomness, no file but the peer list, which is no part of
// the state. The application is used through one mutex (proxy.NewLocalClientCreator) and takes no lock of its own.
package app

import (
	"context"
	"fmt"

	dbm "github.com/cometbft/cometbft-db"
	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/libs/log"
)

const (
	// Version is the protocol version that CometBFT writes into block headers: it rises when the rules change.
	Version uint64 = 1
	// Name is what /abci_info reports.
	Name = "jil-abci"
	// DatabaseName is the goleveldb folder's name without ".db".
	DatabaseName = "jil-abci"
)

// PeerPolicy says which node ids may be peers.
type PeerPolicy interface {
	Allowed(id string) bool
}

// Application implements CometBFT's ABCI 2.0.
type Application struct {
	abci.BaseApplication
	db        dbm.DB
	peers     PeerPolicy
	logger    log.Logger
	committed *snapshot // height 0 before the first block
	finalized *snapshot // decided, not yet committed
}

var _ abci.Application = (*Application)(nil)

// New opens the application on its database. It fails when the database contradicts itself.
func New(db dbm.DB, peers PeerPolicy, logger log.Logger) (*Application, error) {
	last, err := load(db)
	if err != nil {
		return nil, err
	}
	if last == nil {
		last = &snapshot{State: emptyState()}
	}
	return &Application{db: db, peers: peers, logger: logger, committed: last}, nil
}

// Info tells CometBFT from where to replay.
func (a *Application) Info(context.Context, *abci.RequestInfo) (*abci.ResponseInfo, error) {
	info := &abci.ResponseInfo{Data: Name, Version: fmt.Sprint(Version), AppVersion: Version, LastBlockHeight: a.committed.Height}
	if a.committed.Height > 0 {
		hash, err := a.committed.State.hash()
		if err != nil {
			return nil, err
		}
		info.LastBlockAppHash = hash
	}
	return info, nil
}

// InitChain takes the founders from the genesis. Nothing is written before the first commit, so it may be repeated.
func (a *Application) InitChain(_ context.Context, req *abci.RequestInitChain) (*abci.ResponseInitChain, error) {
	genesis, err := genesisState(req)
	if err != nil {
		return nil, err
	}
	hash, err := genesis.hash()
	if err != nil {
		return nil, err
	}
	a.committed = &snapshot{State: genesis}
	return &abci.ResponseInitChain{AppHash: hash}, nil
}

// CheckTx keeps transactions out of the mempool that could not succeed now.
func (a *Application) CheckTx(_ context.Context, req *abci.RequestCheckTx) (*abci.ResponseCheckTx, error) {
	v := a.committed.State.clone().apply(req.Tx, a.committed.Height+1)
	return &abci.ResponseCheckTx{Code: v.code, Log: v.log, Codespace: codespace(v.code)}, nil
}

// PrepareProposal proposes, in their order, the transactions that succeed one after the other.
func (a *Application) PrepareProposal(_ context.Context, req *abci.RequestPrepareProposal) (*abci.ResponsePrepareProposal, error) {
	trial := a.committed.State.clone()
	kept := [][]byte{}
	for _, raw := range req.Txs {
		if trial.apply(raw, req.Height).code == CodeOK {
			kept = append(kept, raw)
		}
	}
	return &abci.ResponsePrepareProposal{Txs: kept}, nil
}

// ProcessProposal votes against a block with a transaction that does not succeed: no honest proposer makes one.
func (a *Application) ProcessProposal(_ context.Context, req *abci.RequestProcessProposal) (*abci.ResponseProcessProposal, error) {
	trial := a.committed.State.clone()
	for i, raw := range req.Txs {
		if v := trial.apply(raw, req.Height); v.code != CodeOK {
			a.logger.Error("refusing proposal", "height", req.Height, "tx", i, "code", v.code, "why", v.log,
				"proposer", fmt.Sprintf("%X", req.ProposerAddress))
			return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_REJECT}, nil
		}
	}
	return &abci.ResponseProcessProposal{Status: abci.ResponseProcessProposal_ACCEPT}, nil
}

// FinalizeBlock executes a decided block in memory. A refused transaction changes nothing; it never fails the block.
func (a *Application) FinalizeBlock(_ context.Context, req *abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error) {
	if a.committed.Height > 0 && req.Height != a.committed.Height+1 {
		return nil, fmt.Errorf("block %d follows height %d: the application's and CometBFT's databases do not belong together", req.Height, a.committed.Height)
	}
	before := a.committed.State
	next := before.clone()
	for _, misbehavior := range req.Misbehavior {
		e := next.recordEvidence(misbehavior, req.Height)
		a.logger.Error("validator misbehaved; its voting power stays until a governance transaction changes it",
			"address", e.Address, "type", e.Type, "height", e.Height, "power", e.Power)
	}
	results := make([]*abci.ExecTxResult, len(req.Txs))
	for i, raw := range req.Txs {
		v := next.apply(raw, req.Height)
		results[i] = &abci.ExecTxResult{Code: v.code, Log: v.log, Codespace: codespace(v.code), Events: v.events}
		if v.code == CodeOK {
			a.logger.Info("executed", "height", req.Height, "what", v.log)
		}
	}
	hash, err := next.hash()
	if err != nil {
		return nil, err
	}
	a.finalized = &snapshot{AppHash: fmt.Sprintf("%x", hash), Height: req.Height, State: next}
	return &abci.ResponseFinalizeBlock{
		TxResults:             results,
		ValidatorUpdates:      validatorUpdates(before.Validators, next.Validators),
		ConsensusParamUpdates: paramUpdates(before, next),
		AppHash:               hash,
	}, nil
}

// Commit makes the finalized block durable. All blocks are kept (retain height 0): a joining node needs them.
func (a *Application) Commit(context.Context, *abci.RequestCommit) (*abci.ResponseCommit, error) {
	if a.finalized == nil {
		return nil, fmt.Errorf("commit without a finalized block after height %d", a.committed.Height)
	}
	if err := save(a.db, a.finalized); err != nil {
		return nil, err
	}
	a.committed, a.finalized = a.finalized, nil
	return &abci.ResponseCommit{}, nil
}

func codespace(code uint32) string {
	if code == CodeOK {
		return ""
	}
	return Codespace
}
