// Package nodelogin is an access controller of CNCF distribution, "jilnode": HTTP Basic, which is all that a kubelet can
// hand to containerd from an image pull Secret.
//
// A user named "node/<node id>" is a node: its password is a JWS, signed by the operator of its cluster, that holds for
// about an hour and only for this registry (login.go). It pulls and does nothing else. Every other user is looked up in an
// htpasswd file, by distribution's own controller, and may do everything.
package nodelogin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	"github.com/sirupsen/logrus"
)

// Name is how the controller is called in the registry's configuration, under "auth".
const Name = "jilnode"

func init() {
	if err := auth.Register(Name, create); err != nil {
		logrus.Errorf("failed to register %s auth: %v", Name, err)
	}
}

type controller struct {
	realm       string
	audience    string
	maxLifetime time.Duration
	issuers     *watched[issuers]
	denied      *watched[denied]
	people      auth.AccessController // nil: nobody but nodes
	now         func() time.Time
}

// create makes the controller from its options: realm, audience (this registry as images are named by it: host[:port]),
// keys (file, a JSON Web Key Set), maxlifetime (default 24h), denied (file, optional), htpasswd (file, optional).
func create(options map[string]any) (auth.AccessController, error) {
	made := &controller{maxLifetime: 24 * time.Hour, now: time.Now}
	texts := map[string]string{}
	for name, value := range options {
		text, ok := value.(string)
		if !ok {
			return nil, fmt.Errorf("auth.%s.%s is not a text", Name, name)
		}
		texts[name] = text
	}
	for _, name := range []string{"realm", "audience", "keys"} {
		if texts[name] == "" {
			return nil, fmt.Errorf("auth.%s.%s must be set", Name, name)
		}
	}
	made.realm, made.audience = texts["realm"], texts["audience"]
	made.issuers = &watched[issuers]{path: texts["keys"], parse: parseIssuers}
	if _, err := made.issuers.get(); err != nil {
		return nil, fmt.Errorf("auth.%s.keys: %w", Name, err)
	}
	if path := texts["denied"]; path != "" {
		made.denied = &watched[denied]{path: path, parse: parseDenied}
		if _, err := made.denied.get(); err != nil {
			return nil, fmt.Errorf("auth.%s.denied: %w", Name, err)
		}
	}
	if text := texts["maxlifetime"]; text != "" {
		limit, err := time.ParseDuration(text)
		if err != nil || limit <= 0 {
			return nil, fmt.Errorf("auth.%s.maxlifetime is not a duration such as 24h", Name)
		}
		made.maxLifetime = limit
	}
	if path := texts["htpasswd"]; path != "" {
		people, err := auth.GetAccessController("htpasswd", map[string]any{"realm": made.realm, "path": path})
		if err != nil {
			return nil, fmt.Errorf("auth.%s.htpasswd: %w", Name, err)
		}
		made.people = people
	}
	for _, name := range []string{"realm", "audience", "keys", "denied", "maxlifetime", "htpasswd"} {
		delete(texts, name)
	}
	for name := range texts {
		return nil, fmt.Errorf("auth.%s.%s is no option of it", Name, name)
	}
	return made, nil
}

// Authorized lets the request through, or answers a challenge. An error that is no challenge is the registry's own
// trouble: distribution answers 400 and says why in its log.
func (c *controller) Authorized(req *http.Request, wanted ...auth.Access) (*auth.Grant, error) {
	user, password, ok := req.BasicAuth()
	if !ok {
		return nil, c.refuse(auth.ErrInvalidCredential)
	}
	node, isNode := strings.CutPrefix(user, UserPrefix)
	if !isNode {
		if c.people == nil {
			return nil, c.refuse(auth.ErrAuthenticationFailure)
		}
		return c.people.Authorized(req, wanted...)
	}
	if err := c.check(node, password); err != nil {
		return nil, err
	}
	for _, access := range wanted {
		if access.Type != "repository" || access.Action != "pull" {
			logrus.Warnf("node %s: a node pulls, and was refused to %q a %q", node, access.Action, access.Type)
			return nil, c.refuse(errors.New("a node pulls and does nothing else"))
		}
	}
	return &auth.Grant{User: auth.UserInfo{Name: user}}, nil
}

func (c *controller) check(node, password string) error {
	rules := rules{audience: c.audience, maxLifetime: c.maxLifetime}
	var err error
	if rules.issuers, err = c.issuers.get(); err != nil {
		return fmt.Errorf("auth.%s.keys: %w", Name, err)
	}
	if c.denied != nil {
		if rules.denied, err = c.denied.get(); err != nil {
			return fmt.Errorf("auth.%s.denied: %w", Name, err)
		}
	}
	if why := rules.check(node, password, c.now()); why != nil {
		// The user name is the caller's word: %q keeps it on its line, and whoever has no node id is not named.
		if !nodeID.MatchString(node) {
			node = "without a node id"
		}
		logrus.Warnf("node %q is not let in: %v", node, why)
		return c.refuse(why)
	}
	return nil
}

func (c *controller) refuse(why error) error {
	return challenge{realm: c.realm, why: why}
}

// challenge is the answer 401, asking for a user and a password.
type challenge struct {
	realm string
	why   error
}

var _ auth.Challenge = challenge{}

// SetHeaders implements auth.Challenge.
func (c challenge) SetHeaders(_ *http.Request, w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", fmt.Sprintf("Basic realm=%q", c.realm))
}

func (c challenge) Error() string { return c.why.Error() }
