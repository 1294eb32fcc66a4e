package app

import (
	"encoding/hex"
	"fmt"
	"maps"
	"strconv"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"

	"jil.io/validator/internal/tx"
)

// Codes of refused transactions (codespace "jil"). They are part of the block's results hash: never renumber.
const (
	CodeOK           uint32 = 0
	CodeMalformed    uint32 = 1
	CodeWrongChain   uint32 = 2
	CodeReplay       uint32 = 3
	CodeUnknown      uint32 = 4
	CodeDuplicate    uint32 = 5
	CodeTooFewPower  uint32 = 6
	CodeBadSignature uint32 = 7
	CodeBadChange    uint32 = 8
	CodeHalted       uint32 = 9
	CodeStale        uint32 = 10
	CodeFull         uint32 = 11

	// Codespace of the codes above.
	Codespace = "jil"
)

// verdict is what became of one transaction. Only the code is consensus; log and events are for people.
type verdict struct {
	code   uint32
	log    string
	events []abci.Event
}

func refuse(code uint32, format string, args ...any) verdict {
	return verdict{code: code, log: fmt.Sprintf(format, args...)}
}

// apply executes one transaction on s at the given height. A refused transaction leaves s as it was.
func (s *state) apply(raw []byte, height int64) verdict {
	decoded, err := tx.Decode(raw)
	if err != nil {
		return refuse(CodeMalformed, "%v", err)
	}
	switch t := decoded.(type) {
	case *tx.Governance:
		if v := s.authorize(t); v.code != CodeOK {
			return v
		}
		return s.govern(t, height)
	case *tx.Transfers:
		return s.recordTransfers(t, height)
	default:
		return refuse(CodeMalformed, "unknown transaction type %T", decoded)
	}
}

// authorize says whether the transaction is this chain's next one and more than 2/3 of the voting power signed it.
// Cheap checks come first: no signature is verified before the claimed power suffices.
func (s *state) authorize(g *tx.Governance) verdict {
	if g.Body.ChainID != s.ChainID {
		return refuse(CodeWrongChain, "signed for chain %q, this is %q", g.Body.ChainID, s.ChainID)
	}
	if g.Body.Nonce != s.Nonce+1 {
		return refuse(CodeReplay, "nonce is %d, the next one is %d (ask /nonce, propose again and have it signed)", g.Body.Nonce, s.Nonce+1)
	}
	var signed int64
	seen := map[string]bool{}
	for _, signature := range g.Signatures {
		v, known := s.Validators[signature.Address]
		if !known {
			return refuse(CodeUnknown, "signer %s is not a validator", signature.Address)
		}
		if seen[signature.Address] {
			return refuse(CodeDuplicate, "signer %s appears twice", signature.Address)
		}
		seen[signature.Address] = true
		signed += v.Power
	}
	if total := s.totalPower(); signed*3 <= total*2 {
		return refuse(CodeTooFewPower, "signed by %d of %d voting power, more than 2/3 (at least %d) is needed", signed, total, total*2/3+1)
	}
	message, err := g.Body.SignBytes()
	if err != nil {
		return refuse(CodeMalformed, "%v", err)
	}
	for _, signature := range g.Signatures {
		if !ed25519.PubKey(s.Validators[signature.Address].PubKey).VerifySignature(message, signature.Signature) {
			return refuse(CodeBadSignature, "signature of %s does not fit this body", signature.Address)
		}
	}
	return verdict{}
}

// govern carries out an authorized change.
func (s *state) govern(g *tx.Governance, height int64) verdict {
	digest, err := g.Body.Digest()
	if err != nil {
		return refuse(CodeMalformed, "%v", err)
	}
	action := g.Body.Action
	switch {
	case action.Halt != nil:
		if s.Halt != nil {
			return refuse(CodeBadChange, "already halted at height %d", s.Halt.Height)
		}
		s.Halt = &halt{Height: height, Reason: action.Halt.Reason}
	case action.Resume != nil:
		if s.Halt == nil {
			return refuse(CodeBadChange, "not halted")
		}
		s.Halt = nil
	case action.Params != nil:
		block, ev := s.Block, s.EvidenceP
		if action.Params.Block != nil {
			block = *action.Params.Block
		}
		if action.Params.Evidence != nil {
			ev = *action.Params.Evidence
		}
		if err := checkParams(block, ev); err != nil {
			return refuse(CodeBadChange, "consensus parameters refused: %v", err)
		}
		s.Block, s.EvidenceP = block, ev
	default:
		after, err := updated(s.Validators, action.Validators)
		if err != nil {
			return refuse(CodeBadChange, "validator update refused: %v", err)
		}
		s.Validators = after
	}
	s.Nonce, s.LastDigest = g.Body.Nonce, hex.EncodeToString(digest)
	return verdict{
		log: fmt.Sprintf("governance %d: %s", g.Body.Nonce, action.Kind()),
		events: []abci.Event{event("governance",
			"kind", action.Kind(), "nonce", strconv.FormatUint(g.Body.Nonce, 10), "digest", s.LastDigest)},
	}
}

// updated returns the validator set after the updates, or why CometBFT could not live with it.
func updated(before map[string]validator, updates []tx.ValidatorUpdate) (map[string]validator, error) {
	after := maps.Clone(before)
	for _, update := range updates {
		address := tx.Address(update.PubKey)
		if update.Power > 0 {
			after[address] = validator{Power: update.Power, PubKey: update.PubKey}
			continue
		}
		if _, known := before[address]; !known {
			return nil, fmt.Errorf("%s is not a validator and cannot be removed", address)
		}
		delete(after, address)
	}
	if len(after) == 0 {
		return nil, fmt.Errorf("nobody would be left")
	}
	if len(after) > maxValidators {
		return nil, fmt.Errorf("%d validators, at most %d are possible", len(after), maxValidators)
	}
	return after, nil
}

// recordTransfers keeps the newest transfers hash of a node.
func (s *state) recordTransfers(t *tx.Transfers, height int64) verdict {
	if s.Halt != nil {
		return refuse(CodeHalted, "halted at height %d: %s", s.Halt.Height, s.Halt.Reason)
	}
	last, known := s.Nodes[t.NodeID]
	if known && t.Sequence <= last.Sequence {
		return refuse(CodeStale, "sequence %d of %s is not above %d", t.Sequence, t.NodeID, last.Sequence)
	}
	if !known && len(s.Nodes) >= maxNodes {
		return refuse(CodeFull, "%d nodes are recorded, no more are taken up", len(s.Nodes))
	}
	s.Nodes[t.NodeID] = transfers{Height: height, Sequence: t.Sequence, SHA256: t.SHA256}
	return verdict{
		log: fmt.Sprintf("transfers %s %d", t.NodeID, t.Sequence),
		events: []abci.Event{event("transfers",
			"nodeId", t.NodeID, "sequence", strconv.FormatUint(t.Sequence, 10), "sha256", t.SHA256)},
	}
}

// recordEvidence notes a proven offence and returns it.
func (s *state) recordEvidence(m abci.Misbehavior, height int64) evidence {
	e := evidence{
		Address:  fmt.Sprintf("%X", m.Validator.Address),
		Height:   m.Height,
		Power:    m.Validator.Power,
		Recorded: height,
		Time:     m.Time.UTC().Format(time.RFC3339Nano),
		Type:     m.Type.String(),
	}
	s.Evidence = append(s.Evidence, e)
	if excess := len(s.Evidence) - maxEvidence; excess > 0 {
		s.Evidence = s.Evidence[excess:]
	}
	return e
}

func event(kind string, keysAndValues ...string) abci.Event {
	attributes := []abci.EventAttribute{}
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		attributes = append(attributes, abci.EventAttribute{Key: keysAndValues[i], Value: keysAndValues[i+1], Index: true})
	}
	return abci.Event{Type: kind, Attributes: attributes}
}
