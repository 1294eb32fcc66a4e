package app

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"

	"jil.io/validator/internal/tx"
)

// Codes of queries.
const (
	queryRefused  uint32 = 1 // peer filter: not this one
	queryNotFound uint32 = 2
)

// Query answers from the last committed block; values are JSON.
//
//	/p2p/filter/addr/<ip:port>  code 0 always: addresses change, node ids do not
//	/p2p/filter/id/<node id>    code 0 when the peer list has the id, else 1
//	/validators                 the set as last decided (CometBFT uses it from two blocks later)
//	/halt  /nonce  /evidence
//	/state/<nodeId>             a node's last recorded transfers hash
func (a *Application) Query(_ context.Context, req *abci.RequestQuery) (*abci.ResponseQuery, error) {
	if strings.HasPrefix(req.Path, "/p2p/filter/addr/") {
		return &abci.ResponseQuery{}, nil
	}
	if id, ok := strings.CutPrefix(req.Path, "/p2p/filter/id/"); ok {
		if a.peers.Allowed(id) {
			return &abci.ResponseQuery{}, nil
		}
		a.logger.Info("peer refused: not in the peer list", "id", id)
		return &abci.ResponseQuery{Code: queryRefused, Codespace: Codespace, Log: fmt.Sprintf("peer %s is not in the peer list", id)}, nil
	}
	s := a.committed.State
	switch req.Path {
	case "/validators":
		type entry struct {
			Address string `json:"address"`
			Power   int64  `json:"power"`
			PubKey  []byte `json:"pubKey"`
		}
		entries := []entry{}
		for _, address := range slices.Sorted(maps.Keys(s.Validators)) {
			entries = append(entries, entry{address, s.Validators[address].Power, s.Validators[address].PubKey})
		}
		return a.answer(map[string]any{"totalPower": s.totalPower(), "validators": entries})
	case "/halt":
		if s.Halt == nil {
			return a.answer(map[string]any{"halted": false})
		}
		return a.answer(map[string]any{"halted": true, "reason": s.Halt.Reason, "since": s.Halt.Height})
	case "/nonce":
		return a.answer(map[string]any{"chainId": s.ChainID, "last": s.Nonce, "lastDigest": s.LastDigest, "next": s.Nonce + 1})
	case "/evidence":
		return a.answer(s.Evidence)
	}
	if nodeID, ok := strings.CutPrefix(req.Path, "/state/"); ok {
		if recorded, known := s.Nodes[nodeID]; known {
			return a.answer(recorded)
		}
		return a.notFound("nothing is recorded for node %q", nodeID)
	}
	return a.notFound("unknown path %q; there are /validators, /halt, /nonce, /evidence, /state/<nodeId>", req.Path)
}

func (a *Application) answer(value any) (*abci.ResponseQuery, error) {
	encoded, err := tx.Encode(value)
	if err != nil {
		return nil, err
	}
	return &abci.ResponseQuery{Value: encoded, Height: a.committed.Height}, nil
}

func (a *Application) notFound(format string, args ...any) (*abci.ResponseQuery, error) {
	return &abci.ResponseQuery{Code: queryNotFound, Codespace: Codespace, Log: fmt.Sprintf(format, args...), Height: a.committed.Height}, nil
}
