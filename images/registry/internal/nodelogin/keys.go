package nodelogin

import (
	"crypto/ed25519"
	"encoding/hex"
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
		case smallOrder(key):
			return nil, fmt.Errorf("key %d is empty or of small order: anybody could sign for it", index)
		case found[entry.KeyID] != nil:
			return nil, fmt.Errorf("two keys have the kid %q", entry.KeyID)
		}
		found[entry.KeyID] = key
	}
	return found, nil
}

// smallOrders are the encodings of the points of order 1, 2, 4 and 8, without their sign bit; two of them in a second form
// that is not canonical. go-jose takes a missing x for 32 zero bytes, which is one of them.
var smallOrders = map[string]bool{
	"0000000000000000000000000000000000000000000000000000000000000000": true,
	"0100000000000000000000000000000000000000000000000000000000000000": true,
	"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05": true,
	"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a": true,
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f": true,
}

func smallOrder(key ed25519.PublicKey) bool {
	bare := append([]byte(nil), key...)
	bare[len(bare)-1] &= 0x7f
	return smallOrders[hex.EncodeToString(bare)]
}
