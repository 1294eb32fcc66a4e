package run

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"

	"jil.io/validator/internal/volume"
)

func paths(t *testing.T, config string) Paths {
	t.Helper()
	mounts := t.TempDir()
	p := Paths{
		Home: t.TempDir(), Config: filepath.Join(mounts, "config.toml"), Genesis: filepath.Join(mounts, "genesis.json"),
		ValidatorKey: filepath.Join(mounts, "priv_validator_key.json"), NodeKey: filepath.Join(mounts, "node_key.json"),
		Peers: filepath.Join(mounts, "peers.json"),
	}
	key := ed25519.GenPrivKey()
	write(t, p.Config, []byte(config))
	writeJSON(t, p.ValidatorKey, privval.FilePVKey{Address: key.PubKey().Address(), PubKey: key.PubKey(), PrivKey: key})
	writeJSON(t, p.NodeKey, p2p.NodeKey{PrivKey: ed25519.GenPrivKey()})
	if err := volume.CreateSignState(p.Home); err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func writeJSON(t *testing.T, path string, value any) {
	t.Helper()
	raw, err := cmtjson.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, raw)
}

func TestAPartialConfigurationTakesCometBFTsDefaultsAndOurPaths(t *testing.T) {
	p := paths(t, `
filter_peers = true
priv_validator_key_file = "elsewhere"
db_dir = "/elsewhere"
[p2p]
addr_book_file = "elsewhere"
[consensus]
timeout_commit = "1150ms"
`)
	cfg, err := loadConfig(p)
	if err != nil {
		t.Fatal(err)
	}
	if !cfg.FilterPeers || cfg.Consensus.TimeoutCommit != 1150*time.Millisecond || cfg.Consensus.TimeoutPropose != 3*time.Second {
		t.Errorf("filter_peers %v, timeout_commit %s, timeout_propose %s", cfg.FilterPeers, cfg.Consensus.TimeoutCommit, cfg.Consensus.TimeoutPropose)
	}
	for got, want := range map[string]string{
		cfg.PrivValidatorKeyFile():   p.ValidatorKey,
		cfg.PrivValidatorStateFile(): volume.SignStatePath(p.Home),
		cfg.NodeKeyFile():            p.NodeKey,
		cfg.GenesisFile():            p.Genesis,
	} {
		if got != want {
			t.Errorf("path %s, want %s", got, want)
		}
	}
	data := volume.DataDir(p.Home) + "/"
	for _, path := range []string{cfg.DBDir() + "/", cfg.P2P.AddrBookFile(), cfg.Consensus.WalFile()} {
		if !strings.HasPrefix(path, data) {
			t.Errorf("%s is not below %s", path, data)
		}
	}
	if cfg.Consensus.DoubleSignCheckHeight != 0 {
		t.Error("a double sign check nobody asked for")
	}
	if err := volume.RequestDoubleSignCheck(p.Home); err != nil {
		t.Fatal(err)
	}
	if cfg, err = loadConfig(p); err != nil || cfg.Consensus.DoubleSignCheckHeight != 10 {
		t.Errorf("double_sign_check_height %d, %v; want 10", cfg.Consensus.DoubleSignCheckHeight, err)
	}
}

func TestAConfigurationWithAMistakeIsRefused(t *testing.T) {
	for name, config := range map[string]string{
		"not TOML":       "filter_peers = ",
		"misspelt key":   "filter_pears = true",
		"wrong type":     "[p2p]\nmax_num_inbound_peers = \"many\"",
		"wrong duration": "[consensus]\ntimeout_commit = \"fast\"",
		"negative":       "[consensus]\ntimeout_commit = \"-1s\"",
	} {
		p := paths(t, config)
		if _, err := loadConfig(p); err == nil || !strings.Contains(err.Error(), p.Config) {
			t.Errorf("%s: %v, want an error that names the file", name, err)
		}
	}
}

func TestKeysAndSignStateAreCheckedBeforeTheStart(t *testing.T) {
	good := paths(t, "")
	if err := checkKeys(good); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		break_ func(Paths)
		want   string
	}{
		"no validator key":    {func(p Paths) { _ = os.Remove(p.ValidatorKey) }, "is the Secret mounted?"},
		"no node key":         {func(p Paths) { _ = os.Remove(p.NodeKey) }, "is the Secret mounted?"},
		"key is no JSON":      {func(p Paths) { write(t, p.ValidatorKey, []byte("x")) }, "is not JSON"},
		"key is something":    {func(p Paths) { write(t, p.ValidatorKey, []byte("{}")) }, "no ed25519 private key"},
		"half a key":          {func(p Paths) { write(t, p.ValidatorKey, []byte(`{"priv_key":{"type":"x","value":"secret"}}`)) }, "not a key file"},
		"another's address":   {func(p Paths) { mixed(t, p.ValidatorKey) }, "do not belong to its private key"},
		"no sign state":       {func(p Paths) { _ = os.Remove(volume.SignStatePath(p.Home)) }, "start never makes one"},
		"sign state is empty": {func(p Paths) { write(t, volume.SignStatePath(p.Home), nil) }, "damaged"},
	} {
		p := paths(t, "")
		test.break_(p)
		err := checkKeys(p)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error quotes the key file: %v", name, err)
		}
	}
}

func mixed(t *testing.T, path string) {
	t.Helper()
	one, two := ed25519.GenPrivKey(), ed25519.GenPrivKey()
	writeJSON(t, path, privval.FilePVKey{Address: two.PubKey().Address(), PubKey: two.PubKey(), PrivKey: one})
}
