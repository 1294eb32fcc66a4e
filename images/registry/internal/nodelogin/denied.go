package nodelogin

import (
	"bufio"
	"bytes"
	"fmt"
	"strings"
)

// denied are the subjects that are let in no more, however long their login would hold.
type denied map[string]bool

// parseDenied reads one node id a line; empty lines and those that begin with '#' do not count. A line that is no node id
// is an error: a revocation with a typo in it would revoke nobody.
func parseDenied(content []byte) (denied, error) {
	found := denied{}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if !nodeID.MatchString(line) {
			return nil, fmt.Errorf("line %d is no node id such as CH-ZUG-01", number)
		}
		found[line] = true
	}
	return found, lines.Err()
}
