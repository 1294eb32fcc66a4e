package guard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Annotation is the pod annotation in which the operator writes the permit.
const Annotation = "jil.io/start-permit"

// Mode says what a start may assume about the sign state.
type Mode string

// The modes of a permit.
const (
	Create  Mode = "create"  // the first start ever: the sign state may be made
	Require Mode = "require" // it must exist
	Check   Mode = "check"   // it must exist, and the newest blocks are searched for own signatures first
)

// Permit lets one pod start.
type Permit struct {
	PodUID    string `json:"podUID"`
	Mode      Mode   `json:"mode"`
	MinHeight int64  `json:"minHeight"` // the sign state must be at least here
}

// findPermit looks into a downward API file (one key="value" a line, the value quoted as Go does).
// It returns nil and a reason to wait when there is no permit for this pod yet.
func findPermit(annotations []byte, podUID string) (*Permit, string) {
	for line := range strings.Lines(string(annotations)) {
		quoted, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), Annotation+"=")
		if !ok {
			continue
		}
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Sprintf("the annotation %s cannot be read: %v", Annotation, err)
		}
		permit := Permit{}
		decoder := json.NewDecoder(bytes.NewReader([]byte(value)))
		if err := decoder.Decode(&permit); err != nil {
			return nil, fmt.Sprintf("the annotation %s is not a permit: %v", Annotation, err)
		}
		if permit.PodUID != podUID {
			return nil, fmt.Sprintf("the permit is for pod UID %q, this pod is %q", permit.PodUID, podUID)
		}
		if err := permit.check(); err != nil {
			return nil, err.Error()
		}
		return &permit, ""
	}
	return nil, fmt.Sprintf("the operator has not yet written the annotation %s", Annotation)
}

func (p Permit) check() error {
	switch p.Mode {
	case Create, Require, Check:
	default:
		return fmt.Errorf("the permit has the unknown mode %q (create, require and check are known)", p.Mode)
	}
	if p.MinHeight < 0 {
		return errors.New("the permit has a negative minHeight")
	}
	return nil
}
