package tx

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/crypto/ed25519"
)

// signDomain stands before the signed bytes. A vote's signed bytes are a length-prefixed protobuf whose second byte
// is 0x08, here it is 'i': what is signed here can never be taken for a vote, nor the other way round.
const signDomain = "jil/gov/v1\n"

// Bounds of one governance transaction.
const (
	MaxUpdates    = 100           // validator updates
	MaxSignatures = 200           // more than a network has validators
	MaxPower      = 1_000_000_000 // voting power of one validator, as in JILNetwork
	maxReason     = 200
)

var (
	chainIDPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,49}$`)
	reasonPattern  = regexp.MustCompile(`^[ -~]{1,200}$`) // printable ASCII: every language encodes it the same way
	addressPattern = regexp.MustCompile(`^[0-9A-F]{40}$`)
)

// Governance is a change of the chain's own rules, valid only with signatures of more than 2/3 of the voting power.
type Governance struct {
	Body       Body        `json:"body"`
	Signatures []Signature `json:"signatures"` // sorted by address, at most one per validator
	Type       string      `json:"type"`
}

// Body is what the validators sign.
type Body struct {
	Action  Action `json:"action"`
	ChainID string `json:"chainId"`
	Nonce   uint64 `json:"nonce"` // exactly the last accepted one + 1; the first is 1
}

// Action holds exactly one change.
type Action struct {
	Halt       *Reason           `json:"halt,omitempty"`
	Params     *Params           `json:"params,omitempty"`
	Resume     *Reason           `json:"resume,omitempty"`
	Validators []ValidatorUpdate `json:"validators,omitempty"`
}

// Reason says to people why ordinary transactions stop or go on.
type Reason struct {
	Reason string `json:"reason"`
}

// ValidatorUpdate sets one validator's voting power; 0 removes it.
type ValidatorUpdate struct {
	Power  int64  `json:"power"`
	PubKey []byte `json:"pubKey"` // 32 bytes of ed25519, base64 on the wire
}

// Params replaces whole sections of CometBFT's consensus parameters; a section left out stays.
type Params struct {
	Block    *BlockParams    `json:"block,omitempty"`
	Evidence *EvidenceParams `json:"evidence,omitempty"`
}

// BlockParams are CometBFT's block limits in bytes and gas (-1: no gas limit).
type BlockParams struct {
	MaxBytes int64 `json:"maxBytes"`
	MaxGas   int64 `json:"maxGas"`
}

// EvidenceParams say how old evidence may be (both bounds must be exceeded for it to expire) and how much fits in a block.
type EvidenceParams struct {
	MaxAgeDurationNs int64 `json:"maxAgeDurationNs"`
	MaxAgeNumBlocks  int64 `json:"maxAgeNumBlocks"`
	MaxBytes         int64 `json:"maxBytes"`
}

// Signature is one validator's ed25519 signature over Body.SignBytes.
type Signature struct {
	Address   string `json:"address"` // upper-case hex, as CometBFT prints it
	Signature []byte `json:"signature"`
}

// Kind names the change for logs and events.
func (a Action) Kind() string {
	switch {
	case a.Halt != nil:
		return "halt"
	case a.Resume != nil:
		return "resume"
	case a.Params != nil:
		return "params"
	default:
		return "validators"
	}
}

// SignBytes are the bytes that validators sign: a domain of their own, then the canonical JSON of the body.
func (b Body) SignBytes() ([]byte, error) {
	encoded, err := Encode(b)
	if err != nil {
		return nil, err
	}
	return append([]byte(signDomain), encoded...), nil
}

// Digest is the SHA-256 of SignBytes: the name under which the chain remembers the last change it carried out.
func (b Body) Digest() ([]byte, error) {
	message, err := b.SignBytes()
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(message)
	return sum[:], nil
}

// Check reports what no state is needed for to see: shape, bounds, exactly one action.
func (b Body) Check() error {
	if !chainIDPattern.MatchString(b.ChainID) {
		return errors.New("chainId must be 1 to 50 of a-z, 0-9 and -, and not start with -")
	}
	if b.Nonce == 0 {
		return errors.New("nonce must be 1 or more")
	}
	given := 0
	for _, reason := range []*Reason{b.Action.Halt, b.Action.Resume} {
		if reason == nil {
			continue
		}
		given++
		if !reasonPattern.MatchString(reason.Reason) {
			return fmt.Errorf("reason must be 1 to %d printable ASCII characters", maxReason)
		}
	}
	if b.Action.Params != nil {
		given++
		if b.Action.Params.Block == nil && b.Action.Params.Evidence == nil {
			return errors.New("params must have block, evidence or both")
		}
	}
	if b.Action.Validators != nil {
		given++
		if err := checkUpdates(b.Action.Validators); err != nil {
			return err
		}
	}
	if given != 1 {
		return fmt.Errorf("action must be exactly one of halt, params, resume, validators; %d are given", given)
	}
	return nil
}

func checkUpdates(updates []ValidatorUpdate) error {
	if len(updates) == 0 || len(updates) > MaxUpdates {
		return fmt.Errorf("validators must have 1 to %d entries, not %d", MaxUpdates, len(updates))
	}
	seen := map[string]bool{}
	for _, update := range updates {
		if len(update.PubKey) != ed25519.PubKeySize {
			return fmt.Errorf("pubKey must be %d bytes of ed25519 in base64, not %d bytes", ed25519.PubKeySize, len(update.PubKey))
		}
		if update.Power < 0 || update.Power > MaxPower {
			return fmt.Errorf("power must be 0 (remove) to %d, not %d", MaxPower, update.Power)
		}
		if seen[string(update.PubKey)] {
			return fmt.Errorf("validator %s is named twice", Address(update.PubKey))
		}
		seen[string(update.PubKey)] = true
	}
	return nil
}

func (g *Governance) check() error {
	if len(g.Signatures) > MaxSignatures {
		return fmt.Errorf("%d signatures, at most %d are allowed", len(g.Signatures), MaxSignatures)
	}
	for i, signature := range g.Signatures {
		if !addressPattern.MatchString(signature.Address) {
			return errors.New("a signature's address must be 40 upper-case hex digits")
		}
		if len(signature.Signature) != ed25519.SignatureSize {
			return fmt.Errorf("signature of %s has %d bytes instead of %d", signature.Address, len(signature.Signature), ed25519.SignatureSize)
		}
		if i > 0 && g.Signatures[i-1].Address > signature.Address {
			return errors.New("signatures must be sorted by address")
		}
	}
	return g.Body.Check()
}

// Address is CometBFT's address of an ed25519 public key: upper-case hex of the first 20 bytes of its SHA-256.
func Address(pubKey []byte) string {
	return ed25519.PubKey(pubKey).Address().String()
}

// Sign adds the signature of one validator's key. A second signature of the same key replaces the first.
func (g *Governance) Sign(key crypto.PrivKey) error {
	if err := g.Body.Check(); err != nil {
		return err
	}
	message, err := g.Body.SignBytes()
	if err != nil {
		return err
	}
	signature, err := key.Sign(message)
	if err != nil {
		return fmt.Errorf("cannot sign: %w", err)
	}
	added := Signature{Address: Address(key.PubKey().Bytes()), Signature: signature}
	g.Signatures = slices.DeleteFunc(g.Signatures, func(s Signature) bool { return s.Address == added.Address })
	g.Signatures = append(g.Signatures, added)
	slices.SortFunc(g.Signatures, func(a, b Signature) int { return strings.Compare(a.Address, b.Address) })
	return nil
}
