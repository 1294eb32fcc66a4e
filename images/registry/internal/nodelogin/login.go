package nodelogin

import (
	"crypto/subtle"
	"errors"
	"regexp"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// UserPrefix begins the user name of every node login; what follows is the node id.
	UserPrefix = "node/"
	// Type is the "typ" of a node login: what else the issuer's key may sign one day is no login.
	Type = "jil-pull+jwt"
	// Issuer signs for the nodes of its cluster.
	Issuer = "jil-operator"

	maxLength = 2048 // bytes; a login has about 450
	leeway    = time.Minute
)

var nodeID = regexp.MustCompile(`^[A-Z]{2}-[A-Z]{3,4}-[0-9]{2}$`)

// Why a login is refused. The words go into the log and never hold anything of the login itself.
var (
	errTooLong    = errors.New("it is longer than a login can be")
	errMalformed  = errors.New("it is no JWS signed with EdDSA")
	errType       = errors.New("its typ is not " + Type)
	errUnknownKey = errors.New("its kid is none of the issuers' keys")
	errSignature  = errors.New("its signature is not by that key")
	errClaims     = errors.New("its header or its claims are incomplete or malformed")
	errIssuer     = errors.New("it has another issuer")
	errAudience   = errors.New("it is for another registry")
	errSubject    = errors.New("it belongs to another node than the user name says")
	errEarly      = errors.New("it does not hold yet")
	errExpired    = errors.New("it has expired")
	errLifetime   = errors.New("it would hold for longer than this registry admits")
	errDenied     = errors.New("the node is let in no more")
)

// rules are what a login is held against.
type rules struct {
	issuers     issuers
	denied      denied
	audience    string
	maxLifetime time.Duration
}

// check says why the password does not let the node in now, nil when it does. The key decides the algorithm: a header
// that names another one, or none, is malformed before any key is looked for.
func (r rules) check(node, password string, now time.Time) error {
	if len(password) > maxLength {
		return errTooLong
	}
	token, err := jwt.ParseSigned(password, []jose.SignatureAlgorithm{jose.EdDSA})
	if err != nil || len(token.Headers) != 1 {
		return errMalformed
	}
	header := token.Headers[0]
	if header.ExtraHeaders[jose.HeaderType] != Type {
		return errType
	}
	key := r.issuers[header.KeyID]
	if key == nil {
		return errUnknownKey
	}
	claims := jwt.Claims{}
	if err := token.Claims(key, &claims); err != nil {
		if errors.Is(err, jose.ErrCryptoFailure) {
			return errSignature
		}
		return errClaims
	}
	return r.judge(node, claims, now)
}

func (r rules) judge(node string, claims jwt.Claims, now time.Time) error {
	if claims.IssuedAt == nil || claims.NotBefore == nil || claims.Expiry == nil || claims.ID == "" {
		return errClaims
	}
	issued, begins, ends := claims.IssuedAt.Time(), claims.NotBefore.Time(), claims.Expiry.Time()
	switch {
	case claims.Issuer != Issuer:
		return errIssuer
	case len(claims.Audience) != 1 || claims.Audience[0] != r.audience:
		return errAudience
	case !nodeID.MatchString(claims.Subject) || subtle.ConstantTimeCompare([]byte(claims.Subject), []byte(node)) != 1:
		return errSubject
	case now.Before(begins) || now.Add(leeway).Before(issued):
		return errEarly
	case !now.Before(ends):
		return errExpired
	case ends.Sub(issued) > r.maxLifetime || ends.Sub(begins) > r.maxLifetime+leeway:
		return errLifetime
	case r.denied[claims.Subject]:
		return errDenied
	}
	return nil
}
