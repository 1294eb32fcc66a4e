package nodelogin

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// watched is a file that is parsed again when it has changed, as a request finds it.
type watched[T any] struct {
	path  string
	parse func([]byte) (T, error)

	mu      sync.Mutex
	changed time.Time
	file    os.FileInfo
	value   T
	known   bool
}

// get is the file's present content. A file that is gone or cannot be read is an error and not its last content: it may
// say that somebody is let in no more.
func (w *watched[T]) get() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var none T
	info, err := os.Stat(w.path)
	if err != nil {
		w.known = false
		return none, err
	}
	if w.known && os.SameFile(info, w.file) && info.ModTime().Equal(w.changed) && info.Size() == w.file.Size() {
		return w.value, nil
	}
	w.known = false
	content, err := os.ReadFile(w.path)
	if err != nil {
		return none, err
	}
	value, err := w.parse(content)
	if err != nil {
		return none, fmt.Errorf("%s: %w", w.path, err)
	}
	w.value, w.file, w.changed, w.known = value, info, info.ModTime(), true
	return value, nil
}
