// Package peers keeps the list of node ids that may be peers, as the operator writes it into a mounted file.
package peers

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/cometbft/cometbft/libs/log"
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{40}$`)

// Allowlist reads {"peers":["<node id>",...]} from a file. A file that cannot be read or parsed keeps the list that
// was good last; before there was one, nobody is allowed.
type Allowlist struct {
	path   string
	logger log.Logger

	mu      sync.Mutex
	ids     map[string]bool
	problem string // last one logged, so that it is logged once
}

// New makes a list; the file may appear later.
func New(path string, logger log.Logger) *Allowlist {
	a := &Allowlist{path: path, logger: logger}
	a.Reload()
	return a
}

// Allowed says whether the node id may be a peer. The file is small and connections are rare: it is read each time,
// so there is no moment at which an old list is still in force.
func (a *Allowlist) Allowed(id string) bool {
	a.Reload()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids[id]
}

// Reload takes up the file's present content.
func (a *Allowlist) Reload() {
	ids, bad, err := read(a.path)
	a.mu.Lock()
	defer a.mu.Unlock()
	problem := ""
	if err != nil {
		problem = err.Error()
	} else if len(bad) > 0 {
		problem = fmt.Sprintf("not node ids (40 lower-case hex digits), ignored: %q", bad)
	}
	if problem != "" && problem != a.problem {
		a.logger.Error("peer list", "file", a.path, "problem", problem, "allowed", len(a.ids))
	}
	a.problem = problem
	if err != nil {
		return
	}
	if a.ids == nil || len(a.ids) != len(ids) || !subset(ids, a.ids) {
		a.logger.Info("peer list taken up", "file", a.path, "allowed", len(ids))
	}
	a.ids = ids
}

func read(path string) (map[string]bool, []string, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, nil, err
	}
	var content struct {
		Peers *[]string `json:"peers"`
	}
	if err := json.Unmarshal(raw, &content); err != nil {
		return nil, nil, fmt.Errorf(`want {"peers":["<node id>",...]}: %w`, err)
	}
	if content.Peers == nil {
		return nil, nil, fmt.Errorf(`want {"peers":["<node id>",...]}: the key peers is missing`)
	}
	ids, bad := map[string]bool{}, []string{}
	for _, id := range *content.Peers {
		if idPattern.MatchString(id) {
			ids[id] = true
		} else {
			bad = append(bad, id)
		}
	}
	slices.Sort(bad)
	return ids, bad, nil
}

func subset(a, b map[string]bool) bool {
	for id := range a {
		if !b[id] {
			return false
		}
	}
	return true
}
