package app

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	"github.com/cometbft/cometbft/types"

	"jil.io/validator/internal/tx"
)

// Bounds of the state, so that nobody can make it grow without limit.
const (
	maxValidators = 200  // twice a network's members: old and new keys may overlap while keys are exchanged
	maxNodes      = 1000 // node ids with a recorded transfers hash
	maxEvidence   = 256  // the newest are kept
	// blockOverhead is what a block needs beside transactions and evidence: CometBFT panics when nothing is left.
	// Header and commit of 200 validators take 23 kB.
	blockOverhead = 64 << 10
)

// validator is one member of the set as the application last decided it (CometBFT follows two blocks later).
type validator struct {
	Power  int64  `json:"power"`
	PubKey []byte `json:"pubKey"`
}

// transfers is the last recorded transfers hash of one node.
type transfers struct {
	Height   int64  `json:"height"`
	Sequence uint64 `json:"sequence"`
	SHA256   string `json:"sha256"`
}

// evidence is one proven misbehaviour. It changes no voting power: that takes a governance transaction.
type evidence struct {
	Address  string `json:"address"`
	Height   int64  `json:"height"`   // of the offence
	Power    int64  `json:"power"`    // of the offender at that height
	Recorded int64  `json:"recorded"` // height of the block that proved it
	Time     string `json:"time"`
	Type     string `json:"type"`
}

type halt struct {
	Height int64  `json:"height"`
	Reason string `json:"reason"`
}

// state is everything that all nodes must agree on. Its hash is the app hash, so a field added here changes the
// hash: that is a new appVersion and a coordinated upgrade.
type state struct {
	Block      tx.BlockParams       `json:"block"`
	ChainID    string               `json:"chainId"`
	Evidence   []evidence           `json:"evidence"`
	EvidenceP  tx.EvidenceParams    `json:"evidenceParams"`
	Halt       *halt                `json:"halt"`
	LastDigest string               `json:"lastDigest"` // SHA-256 of the last accepted governance body's signed bytes
	Nodes      map[string]transfers `json:"nodes"`
	Nonce      uint64               `json:"nonce"` // of the last accepted governance transaction
	Validators map[string]validator `json:"validators"`
}

func emptyState() *state {
	return &state{Evidence: []evidence{}, Nodes: map[string]transfers{}, Validators: map[string]validator{}}
}

// genesisState makes the state before the first block. It refuses a genesis that the application cannot honour.
func genesisState(req *abci.RequestInitChain) (*state, error) {
	if s := bytes.TrimSpace(req.AppStateBytes); len(s) > 0 && string(s) != "{}" && string(s) != "null" {
		return nil, errors.New("genesis.json: app_state must be empty, jil-abci has no genesis state of its own")
	}
	if req.ConsensusParams == nil || req.ConsensusParams.Block == nil || req.ConsensusParams.Evidence == nil {
		return nil, errors.New("genesis.json: consensus_params must have block and evidence")
	}
	s := emptyState()
	s.ChainID = req.ChainId
	s.Block = tx.BlockParams{MaxBytes: req.ConsensusParams.Block.MaxBytes, MaxGas: req.ConsensusParams.Block.MaxGas}
	s.EvidenceP = tx.EvidenceParams{
		MaxAgeDurationNs: int64(req.ConsensusParams.Evidence.MaxAgeDuration),
		MaxAgeNumBlocks:  req.ConsensusParams.Evidence.MaxAgeNumBlocks,
		MaxBytes:         req.ConsensusParams.Evidence.MaxBytes,
	}
	for _, v := range req.Validators {
		pubKey := v.PubKey.GetEd25519()
		if len(pubKey) == 0 {
			return nil, errors.New("genesis.json: every validator must have an ed25519 key")
		}
		if v.Power < 1 || v.Power > tx.MaxPower {
			return nil, fmt.Errorf("genesis.json: power of %s is %d, it must be 1 to %d", tx.Address(pubKey), v.Power, tx.MaxPower)
		}
		s.Validators[tx.Address(pubKey)] = validator{Power: v.Power, PubKey: pubKey}
	}
	if len(s.Validators) == 0 || len(s.Validators) > maxValidators {
		return nil, fmt.Errorf("genesis.json: %d validators; 1 to %d are possible", len(s.Validators), maxValidators)
	}
	return s, nil
}

// clone returns a copy that shares nothing that is ever written to.
func (s *state) clone() *state {
	c := *s
	c.Evidence = slices.Clone(s.Evidence)
	c.Nodes = maps.Clone(s.Nodes)
	c.Validators = maps.Clone(s.Validators)
	return &c
}

// hash is the app hash: SHA-256 over the canonical JSON. The height is no part of it, so an empty block leaves it as it is.
func (s *state) hash() ([]byte, error) {
	encoded, err := tx.Encode(s)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(encoded)
	return sum[:], nil
}

func (s *state) totalPower() int64 {
	var total int64
	for _, v := range s.Validators {
		total += v.Power
	}
	return total
}

// consensusParams are the parameters as CometBFT would hold them, for its own check.
func consensusParams(block tx.BlockParams, ev tx.EvidenceParams) types.ConsensusParams {
	params := *types.DefaultConsensusParams()
	params.Block = types.BlockParams{MaxBytes: block.MaxBytes, MaxGas: block.MaxGas}
	params.Evidence = types.EvidenceParams{
		MaxAgeNumBlocks: ev.MaxAgeNumBlocks,
		MaxAgeDuration:  time.Duration(ev.MaxAgeDurationNs),
		MaxBytes:        ev.MaxBytes,
	}
	return params
}

// checkParams refuses parameters on which CometBFT would stop the chain.
func checkParams(block tx.BlockParams, ev tx.EvidenceParams) error {
	if err := consensusParams(block, ev).ValidateBasic(); err != nil {
		return err
	}
	if block.MaxBytes < ev.MaxBytes+blockOverhead {
		return fmt.Errorf("block.maxBytes must be at least evidence.maxBytes + %d = %d", blockOverhead, ev.MaxBytes+blockOverhead)
	}
	return nil
}

// validatorUpdates is the difference of two validator sets in CometBFT's terms, sorted by address.
// A difference, not the list of changes: CometBFT stops the chain on a key named twice or on the removal of a key it never had.
func validatorUpdates(before, after map[string]validator) []abci.ValidatorUpdate {
	addresses := slices.Collect(maps.Keys(before))
	for address := range after {
		if _, known := before[address]; !known {
			addresses = append(addresses, address)
		}
	}
	slices.Sort(addresses)
	updates := []abci.ValidatorUpdate{}
	for _, address := range addresses {
		old, now := before[address], after[address]
		switch {
		case old.Power == now.Power:
		case now.Power == 0:
			updates = append(updates, abci.UpdateValidator(old.PubKey, 0, "ed25519"))
		default:
			updates = append(updates, abci.UpdateValidator(now.PubKey, now.Power, "ed25519"))
		}
	}
	return updates
}

// paramUpdates is nil when nothing changed.
func paramUpdates(before, after *state) *cmtproto.ConsensusParams {
	if before.Block == after.Block && before.EvidenceP == after.EvidenceP {
		return nil
	}
	params := consensusParams(after.Block, after.EvidenceP)
	wire := params.ToProto()
	// With any update CometBFT takes the application's version from the parameters; a genesis says 0 there.
	return &cmtproto.ConsensusParams{Block: wire.Block, Evidence: wire.Evidence, Version: &cmtproto.VersionParams{App: Version}}
}
