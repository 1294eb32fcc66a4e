package app

import (
	"bytes"
	"reflect"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"

	"jil.io/validator/internal/tx"
)

func TestMoreThanTwoThirdsOfThePowerAddAndRemoveAValidator(t *testing.T) {
	c := newChain(t, 4)
	joining := newKey("joining")
	response := c.mustBlock(c.signed(power(joining, 5), 3))
	want := abci.UpdateValidator(joining.PubKey().Bytes(), 5, "ed25519")
	if len(response.ValidatorUpdates) != 1 || !reflect.DeepEqual(response.ValidatorUpdates[0], want) {
		t.Fatalf("updates %v, want the joining key with power 5", response.ValidatorUpdates)
	}
	response = c.mustBlock(c.signed(power(joining, 0), 4))
	want.Power = 0
	if len(response.ValidatorUpdates) != 1 || !reflect.DeepEqual(response.ValidatorUpdates[0], want) {
		t.Fatalf("updates %v, want its removal", response.ValidatorUpdates)
	}
}

func TestHowManyOfEqualValidatorsMustSign(t *testing.T) {
	for validators, needed := range map[int]int{1: 1, 2: 2, 3: 3, 4: 3, 5: 4, 6: 5, 7: 5, 20: 14, 50: 34} {
		c := newChain(t, validators)
		if code := c.check(c.signed(haltAction(), needed-1)); code != CodeTooFewPower {
			t.Errorf("%d of %d: code %d, want %d", needed-1, validators, code, CodeTooFewPower)
		}
		if code := c.check(c.signed(haltAction(), needed)); code != CodeOK {
			t.Errorf("%d of %d: code %d, want 0", needed, validators, code)
		}
	}
}

func TestPowerCountsNotHeads(t *testing.T) {
	c := newChain(t, 4)
	c.mustBlock(c.signed(power(c.keys[0], 61), 3)) // 61, 10, 10, 10: the first alone has 61 of 91 = 67.03 %
	if code := c.check(c.signed(haltAction(), 1)); code != CodeOK {
		t.Errorf("61 of 91: code %d, want 0", code)
	}
	c.mustBlock(c.signed(power(c.keys[0], 60), 1)) // 60 of 90 is exactly 2/3
	if code := c.check(c.signed(haltAction(), 1)); code != CodeTooFewPower {
		t.Errorf("60 of 90: code %d, want %d", code, CodeTooFewPower)
	}
}

// Every way a governance transaction can be wrong, at each of the four doors.
func TestRefusalMatrix(t *testing.T) {
	c := newChain(t, 4)
	c.mustBlock(c.signed(haltAction(), 4))
	accepted := c.signed(resumeAction(), 4)
	c.mustBlock(accepted)
	outsider := newKey("outsider")

	change := func(edit func(*tx.Governance)) []byte {
		g := c.governance(power(newKey("new"), 10), 0)
		edit(g)
		return c.encode(g)
	}
	for name, test := range map[string]struct {
		raw  []byte
		code uint32
	}{
		"garbage":         {[]byte{0xff, 0x00}, CodeMalformed},
		"empty":           {nil, CodeMalformed},
		"no signature":    {change(func(*tx.Governance) {}), CodeTooFewPower},
		"half the power":  {change(func(g *tx.Governance) { c.sign(g, c.keys[:2]...) }), CodeTooFewPower},
		"replay":          {accepted, CodeReplay},
		"old nonce":       {change(func(g *tx.Governance) { g.Body.Nonce = 2; c.sign(g, c.keys...) }), CodeReplay},
		"nonce in future": {change(func(g *tx.Governance) { g.Body.Nonce = 4; c.sign(g, c.keys...) }), CodeReplay},
		"last nonce ever": {change(func(g *tx.Governance) { g.Body.Nonce = 1<<64 - 1; c.sign(g, c.keys...) }), CodeReplay},
		"wrong chain":     {change(func(g *tx.Governance) { g.Body.ChainID = "other"; c.sign(g, c.keys...) }), CodeWrongChain},
		"unknown signer":  {change(func(g *tx.Governance) { c.sign(g, append(c.keys[:3:3], outsider)...) }), CodeUnknown},
		"duplicate signer": {change(func(g *tx.Governance) {
			c.sign(g, c.keys[:2]...)
			g.Signatures = append(g.Signatures[:1:1], g.Signatures...)
		}), CodeDuplicate},
		"changed after signing": {change(func(g *tx.Governance) {
			c.sign(g, c.keys...)
			g.Body.Action.Validators[0].Power = 1000
		}), CodeBadSignature},
		"signature of another": {change(func(g *tx.Governance) {
			c.sign(g, c.keys...)
			g.Signatures[0].Signature = g.Signatures[1].Signature
		}), CodeBadSignature},
		"no domain separation": {change(func(g *tx.Governance) {
			c.sign(g, c.keys...)
			bare, _ := tx.Encode(g.Body)
			for i := range g.Signatures {
				for _, key := range c.keys {
					if tx.Address(key.PubKey().Bytes()) == g.Signatures[i].Address {
						g.Signatures[i].Signature, _ = key.Sign(bare)
					}
				}
			}
		}), CodeBadSignature},
		"removes a stranger":  {c.signed(power(outsider, 0), 4), CodeBadChange},
		"removes everybody":   {c.signed(everybody(c.keys, 0), 4), CodeBadChange},
		"resume when running": {c.signed(resumeAction(), 4), CodeBadChange},
		"tiny blocks":         {c.signed(tx.Action{Params: &tx.Params{Block: &tx.BlockParams{MaxBytes: 1, MaxGas: -1}}}, 4), CodeBadChange},
		"no block limit":      {c.signed(tx.Action{Params: &tx.Params{Block: &tx.BlockParams{MaxBytes: -1, MaxGas: -1}}}, 4), CodeBadChange},
		"zero evidence age":   {c.signed(tx.Action{Params: &tx.Params{Evidence: &tx.EvidenceParams{MaxBytes: 1}}}, 4), CodeBadChange},
	} {
		t.Run(name, func(t *testing.T) {
			if code := c.check(test.raw); code != test.code {
				t.Errorf("CheckTx: code %d, want %d", code, test.code)
			}
			if status := c.process(test.raw); status != abci.ResponseProcessProposal_REJECT {
				t.Errorf("ProcessProposal: %v, want REJECT", status)
			}
			if kept := c.prepare(test.raw); len(kept) != 0 {
				t.Error("PrepareProposal proposes it")
			}
			before, _ := c.app.committed.State.hash()
			response := c.finalize(test.raw)
			if code := response.TxResults[0].Code; code != test.code {
				t.Errorf("FinalizeBlock: code %d, want %d", code, test.code)
			}
			if !bytes.Equal(before, response.AppHash) || len(response.ValidatorUpdates) != 0 || response.ConsensusParamUpdates != nil {
				t.Error("FinalizeBlock: a refused transaction changed something")
			}
		})
	}
}

func TestNoChangedOrMissingByteOfASignedTransactionIsAccepted(t *testing.T) {
	c := newChain(t, 3)
	good := c.signed(power(newKey("new"), 10), 3) // all three are needed
	for i := range good {
		for _, flip := range []byte{0x01, 0x20, 0x80} {
			bad := bytes.Clone(good)
			bad[i] ^= flip
			if code := c.check(bad); code == CodeOK {
				t.Fatalf("accepted with byte %d changed: %s", i, bad)
			}
		}
		if code := c.check(append(good[:i:i], good[i+1:]...)); code == CodeOK {
			t.Fatalf("accepted without byte %d", i)
		}
	}
	if code := c.check(good); code != CodeOK {
		t.Fatalf("the unchanged one: code %d", code)
	}
}

func TestTheSameTransactionTwiceInOneBlockCountsOnce(t *testing.T) {
	c := newChain(t, 4)
	raw := c.signed(haltAction(), 4)
	if kept := c.prepare(raw, raw); len(kept) != 1 {
		t.Errorf("proposes %d of two equal transactions, want 1", len(kept))
	}
	if status := c.process(raw, raw); status != abci.ResponseProcessProposal_REJECT {
		t.Error("accepts a proposal with a replay inside")
	}
	results := c.block(raw, raw).TxResults
	if results[0].Code != CodeOK || results[1].Code != CodeReplay {
		t.Errorf("codes %d and %d, want 0 and %d", results[0].Code, results[1].Code, CodeReplay)
	}
}

// CometBFT stops the chain on a key named twice or on removing a key it never had.
func TestSeveralUpdatesInOneBlockReachCometBFTAsOneDifference(t *testing.T) {
	c := newChain(t, 4)
	joining := newKey("joining")
	next := func(action tx.Action, nonce uint64) []byte {
		g := c.governance(action, 0)
		g.Body.Nonce = nonce
		c.sign(g, c.keys...)
		return c.encode(g)
	}
	response := c.mustBlock(next(power(joining, 5), 1), next(power(joining, 0), 2), next(power(c.keys[0], 20), 3), next(power(c.keys[0], 30), 4))
	want := abci.UpdateValidator(c.keys[0].PubKey().Bytes(), 30, "ed25519")
	if len(response.ValidatorUpdates) != 1 || !reflect.DeepEqual(response.ValidatorUpdates[0], want) {
		t.Errorf("updates %v, want the one change that is left", response.ValidatorUpdates)
	}
}

func TestARemovedValidatorsSignatureCountsNoMore(t *testing.T) {
	c := newChain(t, 4)
	c.mustBlock(c.signed(power(c.keys[0], 0), 4))
	if code := c.check(c.signed(haltAction(), 4)); code != CodeUnknown {
		t.Errorf("code %d, want %d", code, CodeUnknown)
	}
	c.keys = c.keys[1:]
	if code := c.check(c.signed(haltAction(), 3)); code != CodeOK {
		t.Errorf("the three that are left: code %d", code)
	}
}

func TestHaltStopsOrdinaryTransactionsOnlyAndResumeEndsIt(t *testing.T) {
	c := newChain(t, 4)
	ordinary := c.encode(transfersTx(1))
	c.mustBlock(c.signed(haltAction(), 4))
	if code := c.check(ordinary); code != CodeHalted {
		t.Errorf("CheckTx while halted: code %d, want %d", code, CodeHalted)
	}
	if code := c.block(ordinary).TxResults[0].Code; code != CodeHalted {
		t.Errorf("FinalizeBlock while halted: code %d, want %d", code, CodeHalted)
	}
	c.mustBlock() // empty blocks go on
	c.mustBlock(c.signed(power(newKey("new"), 1), 4))
	if got := string(c.query("/halt").Value); got != `{"halted":true,"reason":"incident 7","since":1}` {
		t.Errorf("/halt says %s", got)
	}
	c.mustBlock(c.signed(resumeAction(), 4))
	c.mustBlock(ordinary)
	if got := string(c.query("/halt").Value); got != `{"halted":false}` {
		t.Errorf("/halt says %s", got)
	}
}

func TestConsensusParametersChangeInWholeSections(t *testing.T) {
	c := newChain(t, 4)
	response := c.mustBlock(c.signed(tx.Action{Params: &tx.Params{Block: &tx.BlockParams{MaxBytes: 2 << 20, MaxGas: -1}}}, 4))
	params := response.ConsensusParamUpdates
	if params == nil || params.Block.MaxBytes != 2<<20 || params.Evidence.MaxBytes != 1048576 || params.Version.App != Version {
		t.Errorf("updates %v", params)
	}
	if response := c.mustBlock(); response.ConsensusParamUpdates != nil {
		t.Error("an empty block changes parameters")
	}
}

func everybody(keys []ed25519.PrivKey, powerEach int64) tx.Action {
	action := tx.Action{}
	for _, key := range keys {
		action.Validators = append(action.Validators, tx.ValidatorUpdate{Power: powerEach, PubKey: key.PubKey().Bytes()})
	}
	return action
}
