// Package govcli makes governance transactions on the command line: propose a change, let validators sign it where
// their keys are, submit it. Signing needs no network and touches no sign state.
package govcli

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"

	"jil.io/validator/internal/tx"
)

// ErrUsage means that the command was called wrongly.
var ErrUsage = errors.New("usage")

const usage = `usage: jil-validator gov <command> [flags]

  propose  print a transaction without signatures
             --rpc URL                     chain id and next nonce are asked there, or both are given:
             --chain-id ID --nonce N
             and one of
             --validator PUBKEY=POWER      base64 ed25519 key; power 0 removes; may be repeated
             --halt REASON | --resume REASON
             --params JSON                 {"block":{"maxBytes":..,"maxGas":..},"evidence":{"maxAgeDurationNs":..,"maxAgeNumBlocks":..,"maxBytes":..}}
  sign     read a transaction on stdin, show on stderr what it does, print it with one more signature
             --key FILE                    priv_validator_key.json
  submit   read a signed transaction on stdin, send it, wait until the chain has carried it out
             --rpc URL  --timeout 60s

  jil-validator gov propose --rpc http://node:26657 --halt "incident 7" | jil-validator gov sign --key a.json |
    jil-validator gov sign --key b.json | jil-validator gov submit --rpc http://node:26657
`

// Run carries out `jil-validator gov <args>`.
func Run(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	if len(args) == 0 {
		_, _ = fmt.Fprint(errs, usage)
		return fmt.Errorf("%w: one of propose, sign, submit is missing", ErrUsage)
	}
	switch args[0] {
	case "propose":
		return propose(ctx, args[1:], out, errs)
	case "sign":
		return sign(args[1:], in, out, errs)
	case "submit":
		return submit(ctx, args[1:], in, out, errs)
	case "help", "-h", "--help":
		_, _ = fmt.Fprint(out, usage)
		return nil
	default:
		return fmt.Errorf("%w: unknown command %q; there are propose, sign, submit", ErrUsage, args[0])
	}
}

func newFlags(name string, errs io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet("gov "+name, flag.ContinueOnError)
	flags.SetOutput(errs)
	return flags
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", ErrUsage, flags.Arg(0))
	}
	return nil
}

func propose(ctx context.Context, args []string, out, errs io.Writer) error {
	flags := newFlags("propose", errs)
	body := tx.Body{}
	rpc := flags.String("rpc", "", "RPC address to ask for chain id and nonce")
	flags.StringVar(&body.ChainID, "chain-id", "", "chain id")
	flags.Uint64Var(&body.Nonce, "nonce", 0, "last accepted nonce + 1")
	flags.Func("validator", "PUBKEY=POWER, may be repeated", func(value string) error {
		update, err := parseUpdate(value)
		body.Action.Validators = append(body.Action.Validators, update)
		return err
	})
	flags.Func("halt", "stop ordinary transactions, with this reason", func(value string) error {
		body.Action.Halt = &tx.Reason{Reason: value}
		return nil
	})
	flags.Func("resume", "let ordinary transactions go on, with this reason", func(value string) error {
		body.Action.Resume = &tx.Reason{Reason: value}
		return nil
	})
	flags.Func("params", "consensus parameters as JSON", func(value string) error {
		body.Action.Params = &tx.Params{}
		return json.Unmarshal([]byte(value), body.Action.Params)
	})
	if err := parse(flags, args); err != nil {
		return err
	}
	if *rpc != "" {
		now, err := (&client{url: *rpc}).nonce(ctx)
		if err != nil {
			return err
		}
		if body.ChainID == "" {
			body.ChainID = now.ChainID
		}
		if body.Nonce == 0 {
			body.Nonce = now.Next
		}
	}
	if err := body.Check(); err != nil {
		return fmt.Errorf("%w: %v", ErrUsage, err)
	}
	return print(out, &tx.Governance{Body: body, Signatures: []tx.Signature{}, Type: tx.TypeGovernance})
}

func parseUpdate(value string) (tx.ValidatorUpdate, error) {
	// The key may end in '=' (base64 padding): the last '=' parts it from the power.
	at := strings.LastIndex(value, "=")
	if at < 0 {
		return tx.ValidatorUpdate{}, errors.New("want PUBKEY=POWER")
	}
	pubKey, err := base64.StdEncoding.DecodeString(value[:at])
	if err != nil {
		return tx.ValidatorUpdate{}, fmt.Errorf("public key is not base64: %w", err)
	}
	power, err := strconv.ParseInt(value[at+1:], 10, 64)
	if err != nil {
		return tx.ValidatorUpdate{}, fmt.Errorf("power is not a number: %w", err)
	}
	return tx.ValidatorUpdate{Power: power, PubKey: pubKey}, nil
}

func sign(args []string, in io.Reader, out, errs io.Writer) error {
	flags := newFlags("sign", errs)
	keyFile := flags.String("key", "", "priv_validator_key.json")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *keyFile == "" {
		return fmt.Errorf("%w: --key is missing", ErrUsage)
	}
	governance, _, err := readTransaction(in)
	if err != nil {
		return err
	}
	raw, err := os.ReadFile(*keyFile)
	if err != nil {
		return err
	}
	key := privval.FilePVKey{}
	if err := cmtjson.Unmarshal(raw, &key); err != nil || key.PrivKey == nil {
		return fmt.Errorf("%s is not a priv_validator_key.json", *keyFile)
	}
	if err := governance.Sign(key.PrivKey); err != nil {
		return err
	}
	what, err := tx.Encode(governance.Body)
	if err != nil {
		return err
	}
	_, _ = fmt.Fprintf(errs, "signed as %s: %s\n", tx.Address(key.PrivKey.PubKey().Bytes()), what)
	return print(out, governance)
}

func submit(ctx context.Context, args []string, in io.Reader, out, errs io.Writer) error {
	flags := newFlags("submit", errs)
	rpc := flags.String("rpc", "", "RPC address")
	timeout := flags.Duration("timeout", 60*time.Second, "how long to wait for the chain to carry it out")
	if err := parse(flags, args); err != nil {
		return err
	}
	if *rpc == "" {
		return fmt.Errorf("%w: --rpc is missing", ErrUsage)
	}
	governance, raw, err := readTransaction(in)
	if err != nil {
		return err
	}
	digest, err := governance.Body.Digest()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	c := &client{url: *rpc}
	if err := c.broadcast(ctx, raw); err != nil {
		return err
	}
	for {
		now, err := c.nonce(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			_, _ = fmt.Fprintf(errs, "asking again: %v\n", err)
		case err == nil && now.LastDigest == hex.EncodeToString(digest):
			_, err = fmt.Fprintf(out, "carried out: nonce %d, height %d\n", now.Last, now.Height)
			return err
		case err == nil && now.Last >= governance.Body.Nonce:
			return fmt.Errorf("another transaction has taken nonce %d or a later one; if this change is not in force, propose it again", governance.Body.Nonce)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("sent, but not carried out within %s: does the chain make blocks? The transaction may still be carried out later", *timeout)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func readTransaction(in io.Reader) (*tx.Governance, []byte, error) {
	raw, err := io.ReadAll(io.LimitReader(in, tx.MaxBytes+2))
	if err != nil {
		return nil, nil, err
	}
	raw = []byte(strings.TrimSpace(string(raw)))
	decoded, err := tx.Decode(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("stdin: %w", err)
	}
	governance, ok := decoded.(*tx.Governance)
	if !ok {
		return nil, nil, fmt.Errorf("stdin: this is no governance transaction")
	}
	return governance, raw, nil
}

func print(out io.Writer, governance *tx.Governance) error {
	encoded, err := tx.Encode(governance)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s\n", encoded)
	return err
}
