package peers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cometbft/cometbft/libs/log"
)

var one, two = strings.Repeat("01", 20), strings.Repeat("02", 20)

func TestTheListIsTheFilesPresentContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	list := New(path, log.NewNopLogger())
	if list.Allowed(one) {
		t.Error("allowed before there is a file")
	}
	for _, step := range []struct {
		content  string
		one, two bool
	}{
		{`{"peers":["` + one + `"]}`, true, false},
		{`{"peers":["` + one + `","` + two + `"],"later":1}`, true, true},
		{`{"peers":["` + two + `"]}`, false, true},
		{`{"peers"`, false, true},                          // torn: the good list stays
		{`{}`, false, true},                                // no list: the good list stays
		{`{"peers":["` + one + `","X","*"]}`, true, false}, // what is no id is ignored
		{`{"peers":["` + strings.ToUpper(strings.Repeat("ab", 20)) + `"]}`, false, false},
		{`{"peers":[]}`, false, false},
	} {
		if err := os.WriteFile(path, []byte(step.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := list.Allowed(one); got != step.one {
			t.Errorf("%s: one allowed %v, want %v", step.content, got, step.one)
		}
		if got := list.Allowed(two); got != step.two {
			t.Errorf("%s: two allowed %v, want %v", step.content, got, step.two)
		}
	}
}

func TestAListThatVanishesStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "peers.json")
	if err := os.WriteFile(path, []byte(`{"peers":["`+one+`"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	list := New(path, log.NewNopLogger())
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if !list.Allowed(one) || list.Allowed(two) {
		t.Error("the list changed when its file vanished")
	}
}
