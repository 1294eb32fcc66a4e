// Package tx is the wire format of the chain's transactions: what the bytes mean and which bytes are signed.
// It decides nothing: who may do what is the application's business (package app).
//
// A transaction is one canonical JSON object: keys sorted, no white space, no escapes other than those JSON needs.
// Bytes that are not the canonical form of what they say are refused, so that one transaction has one encoding.
package tx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
)

// The two kinds of transaction; the value stands in the field "type".
const (
	TypeGovernance = "jil/governance/v1"
	TypeTransfers  = "jil/transfers/v1"
)

// MaxBytes bounds a transaction before it is parsed. 100 signatures and 100 validator updates fit in half of it.
const MaxBytes = 64 << 10

var (
	nodeIDPattern = regexp.MustCompile(`^[A-Z]{2}-[A-Z]{3,4}-[0-9]{2}$`)
	digestPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// ErrMalformed is wrapped by every error of Decode.
var ErrMalformed = errors.New("malformed transaction")

// Transfers is an ordinary transaction: the hash of one node's transfers state after its transfer number Sequence.
// It carries no signature: it is a record for comparison and authorizes nothing.
type Transfers struct {
	NodeID   string `json:"nodeId"`
	Sequence uint64 `json:"sequence"`
	SHA256   string `json:"sha256"`
	Type     string `json:"type"`
}

// Decode parses one transaction and returns a *Governance or a *Transfers.
// It never panics and holds at most a small multiple of MaxBytes in memory; every error wraps ErrMalformed.
func Decode(raw []byte) (any, error) {
	if len(raw) > MaxBytes {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMalformed, len(raw), MaxBytes)
	}
	var head struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("%w: not a JSON object: %v", ErrMalformed, err)
	}
	switch head.Type {
	case TypeGovernance:
		decoded := &Governance{}
		if err := decodeCanonical(raw, decoded); err != nil {
			return nil, err
		}
		if err := decoded.check(); err != nil {
			return nil, fmt.Errorf("%w: %v", ErrMalformed, err)
		}
		return decoded, nil
	case TypeTransfers:
		decoded := &Transfers{}
		if err := decodeCanonical(raw, decoded); err != nil {
			return nil, err
		}
		if !nodeIDPattern.MatchString(decoded.NodeID) {
			return nil, fmt.Errorf("%w: nodeId must look like CH-ZUG-01", ErrMalformed)
		}
		if !digestPattern.MatchString(decoded.SHA256) {
			return nil, fmt.Errorf("%w: sha256 must be 64 lower-case hex digits", ErrMalformed)
		}
		return decoded, nil
	default:
		return nil, fmt.Errorf("%w: type must be %q or %q", ErrMalformed, TypeGovernance, TypeTransfers)
	}
}

// Encode returns the canonical bytes of a transaction or of a part of one.
func Encode(value any) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("cannot encode transaction: %w", err)
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

func decodeCanonical(raw []byte, into any) error {
	if err := decodeStrict(raw, into); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	again, err := Encode(into)
	if err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if !bytes.Equal(raw, again) {
		return fmt.Errorf("%w: not in canonical form (sorted keys, no white space, no unknown or repeated keys)", ErrMalformed)
	}
	return nil
}

func decodeStrict(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}
