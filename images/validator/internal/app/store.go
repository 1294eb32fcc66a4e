package app

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	dbm "github.com/cometbft/cometbft-db"
)

var stateKey = []byte("state")

// snapshot is what one commit leaves on disk: state, height and hash together, so that no crash can part them.
type snapshot struct {
	AppHash string `json:"appHash"`
	Height  int64  `json:"height"`
	State   *state `json:"state"`
}

// load reads the last commit. It returns nil when there is none yet, and an error when what is there does not add up.
func load(db dbm.DB) (*snapshot, error) {
	raw, err := db.Get(stateKey)
	if err != nil {
		return nil, fmt.Errorf("cannot read the application database: %w", err)
	}
	if raw == nil {
		return nil, nil
	}
	last := &snapshot{}
	if err := json.Unmarshal(raw, last); err != nil {
		return nil, damaged(err)
	}
	if last.State == nil || last.Height < 1 || last.State.Nodes == nil || last.State.Validators == nil {
		return nil, damaged(errors.New("fields are missing"))
	}
	hash, err := last.State.hash()
	if err != nil {
		return nil, damaged(err)
	}
	if hex.EncodeToString(hash) != last.AppHash {
		return nil, damaged(fmt.Errorf("its hash is %x, recorded is %s", hash, last.AppHash))
	}
	return last, nil
}

// save writes one commit in one synced batch.
func save(db dbm.DB, s *snapshot) error {
	raw, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode the application state: %w", err)
	}
	batch := db.NewBatch()
	defer func() { _ = batch.Close() }()
	if err := batch.Set(stateKey, raw); err != nil {
		return fmt.Errorf("cannot write the application database: %w", err)
	}
	if err := batch.WriteSync(); err != nil {
		return fmt.Errorf("cannot write the application database (is the volume full?): %w", err)
	}
	return nil
}

func damaged(err error) error {
	return fmt.Errorf("the application database data/%s.db is damaged: %w; keep data/priv_validator_state.json as it is, "+
		"remove everything else under data/ and start again: the chain is then synchronized from the peers", DatabaseName, err)
}
