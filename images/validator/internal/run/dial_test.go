package run

import (
	"strings"
	"testing"
	"time"

	"github.com/cometbft/cometbft/libs/log"
)

func TestPeersAreCheckedByFormAndNotByName(t *testing.T) {
	id := strings.Repeat("0a", 20)
	d, err := newDialer(" "+id+"@no-such-name.invalid:26656, "+id+"@[::1]:1,", 0, nil, log.NewNopLogger())
	if err != nil || len(d.peers) != 2 || d.last != lastDialPause {
		t.Errorf("%v, %v", d, err)
	}
	if d, err = newDialer("", 3*time.Second, nil, log.NewNopLogger()); err != nil || len(d.peers) != 0 || d.last != 3*time.Second {
		t.Errorf("%v, %v", d, err)
	}
	for _, wrong := range []string{
		"host:26656", id + "@host", id + "@:26656", id + "@host:0", id + "@host:x", id + "@host:65536",
		id[1:] + "@host:26656", strings.ToUpper(id) + "@host:26656", id + "@host:1;" + id + "@host:2",
	} {
		if _, err := newDialer(wrong, 0, nil, log.NewNopLogger()); err == nil || !strings.Contains(err.Error(), "persistent_peers") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
}
