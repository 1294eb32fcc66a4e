package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	cmtjson "github.com/cometbft/cometbft/libs/json"
	"github.com/cometbft/cometbft/privval"
)

// ErrNoSignState means that the volume holds no sign state.
var ErrNoSignState = errors.New("no sign state")

// DataDir is where CometBFT and the application keep everything.
func DataDir(home string) string { return filepath.Join(home, "data") }

// SignStatePath is the file with the height, round and step that were signed last. Losing it can mean signing twice.
func SignStatePath(home string) string {
	return filepath.Join(DataDir(home), "priv_validator_state.json")
}

func doubleSignCheckPath(home string) string { return filepath.Join(home, "double_sign_check") }

// SignedHeight returns the height signed last. It wraps ErrNoSignState when there is no file.
func SignedHeight(home string) (int64, error) {
	path := SignStatePath(home)
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s does not exist", ErrNoSignState, path)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot read the sign state: %w", err)
	}
	state := privval.FilePVLastSignState{}
	if err := cmtjson.Unmarshal(raw, &state); err != nil {
		return 0, fmt.Errorf("the sign state %s is damaged: %w; restore it from this volume's newest snapshot only if no block was signed since, "+
			"else treat it as lost", path, err)
	}
	if state.Height < 0 {
		return 0, fmt.Errorf("the sign state %s is damaged: height %d", path, state.Height)
	}
	return state.Height, nil
}

// CreateSignState writes the sign state of a key that never signed. It never replaces a file.
func CreateSignState(home string) error {
	dir := DataDir(home)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w (is the volume writable for uid %d?)", dir, err, os.Getuid())
	}
	path := SignStatePath(home)
	temporary := path + ".new"
	if err := writeSynced(temporary, []byte("{\n  \"height\": \"0\",\n  \"round\": 0,\n  \"step\": 0\n}\n")); err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }()
	// A hard link fails where the name exists: unlike a rename it cannot put a zeroed state over a real one.
	if err := os.Link(temporary, path); err != nil {
		return fmt.Errorf("cannot create the sign state: %w", err)
	}
	return errors.Join(syncDir(dir), syncDir(home))
}

// RequestDoubleSignCheck makes every following start look for own signatures in the newest blocks, until one succeeded.
func RequestDoubleSignCheck(home string) error {
	if err := writeSynced(doubleSignCheckPath(home), []byte("10\n")); err != nil {
		return err
	}
	return syncDir(home)
}

// DoubleSignCheckRequested tells whether a start must look for own signatures.
func DoubleSignCheckRequested(home string) (bool, error) {
	_, err := os.Stat(doubleSignCheckPath(home))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// DoubleSignCheckDone ends the request after a start that found nothing.
func DoubleSignCheckDone(home string) error {
	if err := os.Remove(doubleSignCheckPath(home)); err != nil {
		return err
	}
	return syncDir(home)
}

func writeSynced(path string, content []byte) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	_, err = file.Write(content)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return nil
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
