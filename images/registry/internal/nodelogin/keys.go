package nodelogin

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// issuers are the public keys whose logins are taken, by key id.
type issuers map[string]ed25519.PublicKey

// parseIssuers reads a JSON Web Key Set of public Ed25519 keys. What else is in it is an error, not left out: a key that
// is not used is a key that somebody believes to be used.
func parseIssuers(content []byte) (issuers, error) {
	set := jose.JSONWebKeySet{}
	if err := json.Unmarshal(content, &set); err != nil {
		// What the library says may quote the content, and the content may be a private key.
		return nil, errors.New("it is not a JSON Web Key Set")
	}
	if len(set.Keys) == 0 {
		return nil, errors.New(`it has no key: {"keys": [{"kty": "OKP", "crv": "Ed25519", "x": …, "kid": …}]}`)
	}
	found := issuers{}
	for index, entry := range set.Keys {
		key, ok := entry.Key.(ed25519.PublicKey)
		switch {
		case !ok && !entry.IsPublic():
			return nil, fmt.Errorf("key %d is a private key: the registry must not have it", index)
		case !ok:
			return nil, fmt.Errorf("key %d is no Ed25519 key", index)
		case entry.KeyID == "":
			return nil, fmt.Errorf("key %d has no kid", index)
		case found[entry.KeyID] != nil:
			return nil, fmt.Errorf("two keys have the kid %q", entry.KeyID)
		}
		found[entry.KeyID] = key
	}
	return found, nil
}
