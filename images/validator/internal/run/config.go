package run

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cometbft/cometbft/config"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	"github.com/spf13/viper"

	"jil.io/validator/internal/volume"
)

// Paths of everything a validator reads. Home is its volume; the rest is mounted read-only.
type Paths struct {
	Home         string
	Config       string
	Genesis      string
	ValidatorKey string
	NodeKey      string
	Peers        string
}

// doubleSignCheckHeights is how many blocks a permit with mode "check" looks back.
const doubleSignCheckHeights = 10

// loadConfig reads config.toml with CometBFT's own defaults and checks, and puts every path where it belongs:
// keys and genesis come from the mounts, everything that is written lies under <home>/data.
func loadConfig(p Paths) (*config.Config, error) {
	reader := viper.New()
	reader.SetConfigFile(p.Config)
	reader.SetConfigType("toml")
	if err := reader.ReadInConfig(); err != nil {
		return nil, fmt.Errorf("cannot read the configuration %s: %w", p.Config, err)
	}
	cfg := config.DefaultConfig()
	// Exact: a misspelt key would otherwise mean a default in silence.
	if err := reader.UnmarshalExact(cfg); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", p.Config, err)
	}
	data := volume.DataDir(p.Home)
	cfg.SetRoot(p.Home)
	cfg.DBPath = data
	cfg.DBBackend = "goleveldb"
	cfg.Genesis = p.Genesis
	cfg.PrivValidatorKey = p.ValidatorKey
	cfg.PrivValidatorState = volume.SignStatePath(p.Home)
	cfg.PrivValidatorListenAddr = ""
	cfg.NodeKey = p.NodeKey
	cfg.P2P.AddrBook = filepath.Join(data, "addrbook.json")
	cfg.Consensus.WalPath = filepath.Join(data, "cs.wal", "wal")
	check, err := volume.DoubleSignCheckRequested(p.Home)
	if err != nil {
		return nil, err
	}
	if check {
		cfg.Consensus.DoubleSignCheckHeight = doubleSignCheckHeights
	}
	if err := cfg.ValidateBasic(); err != nil {
		return nil, fmt.Errorf("configuration %s: %w", p.Config, err)
	}
	return cfg, nil
}

// checkKeys reads both keys and the sign state before CometBFT does, which would end the process with less to say.
func checkKeys(p Paths) error {
	key := privval.FilePVKey{}
	if err := readKey(p.ValidatorKey, &key); err != nil {
		return fmt.Errorf("validator key: %w", err)
	}
	if key.PrivKey == nil || key.PrivKey.Type() != "ed25519" {
		return fmt.Errorf("validator key: %s holds no ed25519 private key", p.ValidatorKey)
	}
	if derived := key.PrivKey.PubKey(); key.PubKey == nil || !derived.Equals(key.PubKey) || derived.Address().String() != key.Address.String() {
		return fmt.Errorf("validator key: address or public key in %s do not belong to its private key", p.ValidatorKey)
	}
	nodeKey := p2p.NodeKey{}
	if err := readKey(p.NodeKey, &nodeKey); err != nil {
		return fmt.Errorf("node key: %w", err)
	}
	if nodeKey.PrivKey == nil || nodeKey.PrivKey.Type() != "ed25519" {
		return fmt.Errorf("node key: %s holds no ed25519 private key", p.NodeKey)
	}
	_, err := volume.SignedHeight(p.Home)
	if errors.Is(err, volume.ErrNoSignState) {
		return fmt.Errorf("%w; start never makes one: run `jil-validator guard` first (the pod's init container), "+
			"which does so once and only with the operator's permit", err)
	}
	return err
}

func readKey(path string, into any) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s does not exist (is the Secret mounted?)", path)
	}
	if err != nil {
		return err
	}
	if !json.Valid(raw) {
		return fmt.Errorf("%s is not JSON", path)
	}
	if err := cmtjson.Unmarshal(raw, into); err != nil {
		// The error of the decoder may quote the file: it is not repeated, the file holds a private key.
		return fmt.Errorf("%s is not a key file as CometBFT writes it", path)
	}
	return nil
}
