// Package volume guards what lies on a validator's volume: one process at a time, and a sign state that is never
// made twice and never goes back.
package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// Lock is an exclusive lock on a home directory. The kernel drops it when the process ends, however it ends.
// It holds between processes of one machine; between machines ReadWriteOnce volumes and the start permit do.
type Lock struct{ file *os.File }

// ErrLocked means that another process uses the volume.
var ErrLocked = errors.New("volume is in use")

// Acquire takes the lock without waiting; it wraps ErrLocked when another process has it.
func Acquire(home string) (*Lock, error) {
	path := filepath.Join(home, "jil.lock")
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w (is the volume mounted there and writable for uid %d?)", path, err, os.Getuid())
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: another process holds %s; two processes with one key sign twice, so this one stops. "+
				"Stop the other one; never remove the lock file", ErrLocked, path)
		}
		return nil, fmt.Errorf("cannot lock %s: %w", path, err)
	}
	return &Lock{file: file}, nil
}

// Release gives the lock back. The file stays: removing it would let two processes lock two files of one name.
func (l *Lock) Release() error { return l.file.Close() }
