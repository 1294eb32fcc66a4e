package nodelogin

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/distribution/distribution/v3/registry/auth"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd"
	"github.com/go-jose/go-jose/v4"
	"github.com/sirupsen/logrus"
)

const (
	registryName = "registry.example:5000"
	node         = "CH-ZUG-01"
	keyID        = "k1"
	// bcrypt of "loopback-only", at the least cost.
	person = "ci:$2b$05$jilrigjilrigjilrigjiO.K4hUCM95HDgJyajB93ULOEJ7aYC2.G2\n"
)

var moment = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// desk is a controller with files of its own, an issuer, and a clock that stands still.
type desk struct {
	*controller
	folder string
	key    ed25519.PrivateKey
	log    *bytes.Buffer
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d := &desk{folder: t.TempDir(), key: private, log: &bytes.Buffer{}}
	d.write(t, "keys.json", keySet(t, jose.JSONWebKey{Key: public, KeyID: keyID}))
	d.write(t, "denied", "# nobody\n")
	d.write(t, "htpasswd", person)
	made, err := create(d.options())
	if err != nil {
		t.Fatal(err)
	}
	d.controller = made.(*controller)
	d.now = func() time.Time { return moment }
	logrus.SetOutput(d.log)
	logrus.SetLevel(logrus.DebugLevel)
	t.Cleanup(func() { logrus.SetOutput(os.Stderr) })
	return d
}

func (d *desk) options() map[string]any {
	return map[string]any{
		"realm": "jil", "audience": registryName, "keys": filepath.Join(d.folder, "keys.json"),
		"denied": filepath.Join(d.folder, "denied"), "htpasswd": filepath.Join(d.folder, "htpasswd"),
	}
}

func (d *desk) write(t *testing.T, name, content string) {
	t.Helper()
	path := filepath.Join(d.folder, name)
	if err := os.WriteFile(path+".part", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".part", path); err != nil {
		t.Fatal(err)
	}
}

func keySet(t *testing.T, keys ...jose.JSONWebKey) string {
	t.Helper()
	text, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

type object = map[string]any

func header() object { return object{"alg": "EdDSA", "kid": keyID, "typ": Type} }

func claims() object {
	at := moment.Unix()
	return object{
		"iss": Issuer, "sub": node, "aud": registryName, "iat": at, "nbf": at - 60, "exp": at + 3600, "jti": "0123",
	}
}

func with(base object, changes object) object {
	made := maps.Clone(base)
	for name, value := range changes {
		if value == nil {
			delete(made, name)
			continue
		}
		made[name] = value
	}
	return made
}

func part(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

// login is made by hand, so that it can be wrong in every way.
func (d *desk) login(t *testing.T, header, claims object) string {
	t.Helper()
	signed := part(t, header) + "." + part(t, claims)
	return signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.key, []byte(signed)))
}

func access(kind, name, action string) auth.Access {
	return auth.Access{Resource: auth.Resource{Type: kind, Name: name}, Action: action}
}

func (d *desk) ask(t *testing.T, user, password string, wanted ...auth.Access) error {
	t.Helper()
	request := httptest.NewRequest(http.MethodGet, "https://"+registryName+"/v2/", nil)
	request.SetBasicAuth(user, password)
	grant, err := d.Authorized(request, wanted...)
	if (grant == nil) == (err == nil) {
		t.Fatalf("grant %v and error %v", grant, err)
	}
	return err
}

var pull = access("repository", "jil/node", "pull")

func TestANodePullsWithItsOwnLogin(t *testing.T) {
	d := newDesk(t)
	login := d.login(t, header(), claims())
	if err := d.ask(t, UserPrefix+node, login, pull); err != nil {
		t.Fatal(err)
	}
	if err := d.ask(t, UserPrefix+node, login); err != nil {
		t.Fatalf("the base route: %v", err)
	}
}

func TestEveryFaultOfALoginIsRefusedBesideItsTwinThatHasNone(t *testing.T) {
	at := moment.Unix()
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	unsigned := func(t *testing.T, d *desk, header object) string {
		return part(t, header) + "." + part(t, claims()) + "."
	}
	cases := map[string]struct {
		make func(t *testing.T, d *desk) string
		why  error
	}{
		"another key": {func(t *testing.T, d *desk) string {
			return (&desk{key: stranger}).login(t, header(), claims())
		}, errSignature},
		"a changed claim": {func(t *testing.T, d *desk) string {
			parts := strings.Split(d.login(t, header(), claims()), ".")
			return parts[0] + "." + part(t, with(claims(), object{"exp": at + 7200})) + "." + parts[2]
		}, errSignature},
		"an unknown key id":  {signed(object{"kid": "k2"}, nil), errUnknownKey},
		"no key id":          {signed(object{"kid": nil}, nil), errUnknownKey},
		"alg none":           {func(t *testing.T, d *desk) string { return unsigned(t, d, with(header(), object{"alg": "none"})) }, errMalformed},
		"alg none and a kid": {signed(object{"alg": "none"}, nil), errMalformed},
		"no alg":             {signed(object{"alg": nil}, nil), errMalformed},
		"alg HS256 by the public key": {func(t *testing.T, d *desk) string {
			signer, err := jose.NewSigner(
				jose.SigningKey{Algorithm: jose.HS256, Key: []byte(d.key.Public().(ed25519.PublicKey))},
				(&jose.SignerOptions{}).WithType(Type).WithHeader("kid", keyID))
			if err != nil {
				t.Fatal(err)
			}
			text, _ := json.Marshal(claims())
			signature, _ := signer.Sign(text)
			compact, _ := signature.CompactSerialize()
			return compact
		}, errMalformed},
		"a critical header":        {signed(object{"crit": []string{"x"}, "x": true}, nil), errClaims},
		"another type":             {signed(object{"typ": "JWT"}, nil), errType},
		"no type":                  {signed(object{"typ": nil}, nil), errType},
		"expired":                  {signed(nil, object{"iat": at - 3600, "nbf": at - 3660, "exp": at}), errExpired},
		"not yet":                  {signed(nil, object{"nbf": at + 1}), errEarly},
		"issued in the future":     {signed(nil, object{"iat": at + 120}), errEarly},
		"another registry":         {signed(nil, object{"aud": "registry.example"}), errAudience},
		"two registries":           {signed(nil, object{"aud": []string{registryName, "other"}}), errAudience},
		"no registry":              {signed(nil, object{"aud": nil}), errAudience},
		"another node":             {signed(nil, object{"sub": "SG-MAS-01"}), errSubject},
		"no node":                  {signed(nil, object{"sub": nil}), errSubject},
		"another issuer":           {signed(nil, object{"iss": "somebody"}), errIssuer},
		"no end":                   {signed(nil, object{"exp": nil}), errClaims},
		"no beginning":             {signed(nil, object{"nbf": nil}), errClaims},
		"no time of issue":         {signed(nil, object{"iat": nil}), errClaims},
		"no id":                    {signed(nil, object{"jti": nil}), errClaims},
		"an end that is no number": {signed(nil, object{"exp": "soon"}), errClaims},
		"holds too long":           {signed(nil, object{"exp": at + 86401}), errLifetime},
		"holds too long before":    {signed(nil, object{"nbf": at - 90000, "exp": at + 1}), errLifetime},
		"claims that are no object": {func(t *testing.T, d *desk) string {
			text := part(t, header()) + "." + part(t, "claims")
			return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.key, []byte(text)))
		}, errClaims},
		"nothing":            {func(*testing.T, *desk) string { return "" }, errMalformed},
		"two parts":          {func(*testing.T, *desk) string { return "a.b" }, errMalformed},
		"no base64":          {func(*testing.T, *desk) string { return "ä.ö.ü" }, errMalformed},
		"full serialization": {func(t *testing.T, d *desk) string { return `{"payload":"","signatures":[]}` }, errMalformed},
		"padded":             {func(t *testing.T, d *desk) string { return d.login(t, header(), claims()) + "==" }, errMalformed},
		"longer than a login": {func(t *testing.T, d *desk) string {
			return d.login(t, header(), with(claims(), object{"x": strings.Repeat("x", 2048)}))
		}, errTooLong},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			login := c.make(t, d)
			err := d.ask(t, UserPrefix+node, login, pull)
			refused, ok := err.(challenge)
			if !ok || refused.why != c.why {
				t.Fatalf("answered %v, not %v", err, c.why)
			}
			if err := d.ask(t, UserPrefix+node, d.login(t, header(), claims()), pull); err != nil {
				t.Fatalf("the twin: %v", err)
			}
			if !strings.Contains(d.log.String(), c.why.Error()) {
				t.Fatalf("the log does not say why: %s", d.log)
			}
		})
	}
}

func signed(headerChanges, claimChanges object) func(*testing.T, *desk) string {
	return func(t *testing.T, d *desk) string {
		return d.login(t, with(header(), headerChanges), with(claims(), claimChanges))
	}
}

func TestAJWSWithADuplicateClaimIsRefused(t *testing.T) {
	d := newDesk(t)
	text, _ := json.Marshal(claims())
	double := strings.Replace(string(text), "{", `{"sub":"SG-MAS-01",`, 1)
	signed := part(t, header()) + "." + base64.RawURLEncoding.EncodeToString([]byte(double))
	login := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(d.key, []byte(signed)))
	for _, user := range []string{node, "SG-MAS-01"} {
		if err := d.ask(t, UserPrefix+user, login, pull); err == nil {
			t.Fatalf("%s was let in", user)
		}
	}
}

func TestANodesLoginOpensNothingButPulls(t *testing.T) {
	d := newDesk(t)
	login := d.login(t, header(), claims())
	for _, wanted := range [][]auth.Access{
		{access("repository", "jil/node", "push")},
		{access("repository", "jil/node", "delete")},
		{access("repository", "jil/node", "*")},
		{pull, access("repository", "jil/node", "push")},
		{access("registry", "catalog", "*")},
		{access("registry", "catalog", "pull")},
	} {
		if _, ok := d.ask(t, UserPrefix+node, login, wanted...).(challenge); !ok {
			t.Errorf("%v was not refused", wanted)
		}
	}
}

func TestTheLoginOfOneNodeIsNoLoginOfAnother(t *testing.T) {
	d := newDesk(t)
	login := d.login(t, header(), claims())
	for _, user := range []string{UserPrefix + "SG-MAS-01", UserPrefix, UserPrefix + "ch-zug-01", UserPrefix + node + "\n", "ci", node, ""} {
		if err := d.ask(t, user, login, pull); err == nil {
			t.Errorf("user %q was let in", user)
		}
	}
}

func TestADeniedNodePullsNoMoreAtOnceAndTheOthersDo(t *testing.T) {
	d := newDesk(t)
	mine, other := d.login(t, header(), claims()), d.login(t, header(), with(claims(), object{"sub": "SG-MAS-01"}))
	if err := d.ask(t, UserPrefix+node, mine, pull); err != nil {
		t.Fatal(err)
	}
	d.write(t, "denied", "# revoked 2026-11-21\n"+node+"\n")
	if refused, ok := d.ask(t, UserPrefix+node, mine, pull).(challenge); !ok || refused.why != errDenied {
		t.Fatal("the denied node was let in")
	}
	if err := d.ask(t, UserPrefix+"SG-MAS-01", other, pull); err != nil {
		t.Fatal(err)
	}
	d.write(t, "denied", "")
	if err := d.ask(t, UserPrefix+node, mine, pull); err != nil {
		t.Fatalf("it is denied no more: %v", err)
	}
}

func TestAListOfDeniedNodesThatCannotBeReadLetsNoNodeIn(t *testing.T) {
	d := newDesk(t)
	login := d.login(t, header(), claims())
	for what, spoil := range map[string]func(){
		"gone":   func() { os.Remove(filepath.Join(d.folder, "denied")) },
		"a typo": func() { d.write(t, "denied", "CH-ZUG-1\n") },
	} {
		spoil()
		err := d.ask(t, UserPrefix+node, login, pull)
		if _, ok := err.(challenge); err == nil || ok {
			t.Errorf("%s: %v is not the registry's own trouble", what, err)
		}
		if err := d.ask(t, "ci", "loopback-only", access("repository", "x", "push")); err != nil {
			t.Errorf("%s: people are not concerned: %v", what, err)
		}
		d.write(t, "denied", "")
		if err := d.ask(t, UserPrefix+node, login, pull); err != nil {
			t.Errorf("mended after %s: %v", what, err)
		}
	}
}

func TestANewIssuersKeyIsTakenUpWithoutARestart(t *testing.T) {
	d := newDesk(t)
	old := d.login(t, header(), claims())
	oldKey := jose.JSONWebKey{Key: d.key.Public(), KeyID: keyID}
	public, private, _ := ed25519.GenerateKey(rand.Reader)
	newKey := jose.JSONWebKey{Key: public, KeyID: "k2"}
	fresh := (&desk{key: private}).login(t, with(header(), object{"kid": "k2"}), claims())
	d.write(t, "keys.json", keySet(t, oldKey, newKey))
	for _, login := range []string{old, fresh} {
		if err := d.ask(t, UserPrefix+node, login, pull); err != nil {
			t.Fatal(err)
		}
	}
	d.write(t, "keys.json", keySet(t, newKey))
	if refused, ok := d.ask(t, UserPrefix+node, old, pull).(challenge); !ok || refused.why != errUnknownKey {
		t.Fatal("a key that is gone still lets in")
	}
}

func TestPeoplePushAndPullByPassword(t *testing.T) {
	d := newDesk(t)
	if err := d.ask(t, "ci", "loopback-only", access("repository", "x", "push"), pull); err != nil {
		t.Fatal(err)
	}
	for _, pair := range [][2]string{{"ci", "wrong"}, {"nobody", "loopback-only"}, {"", ""}} {
		if _, ok := d.ask(t, pair[0], pair[1], pull).(auth.Challenge); !ok {
			t.Errorf("%v was not refused", pair)
		}
	}
}

func TestWithoutAnHtpasswdFileNobodyButNodesIsLetIn(t *testing.T) {
	d := newDesk(t)
	options := d.options()
	delete(options, "htpasswd")
	made, err := create(options)
	if err != nil {
		t.Fatal(err)
	}
	d.controller = made.(*controller)
	d.now = func() time.Time { return moment }
	if err := d.ask(t, "ci", "loopback-only", pull); err == nil {
		t.Fatal("let in")
	}
	if err := d.ask(t, UserPrefix+node, d.login(t, header(), claims()), pull); err != nil {
		t.Fatal(err)
	}
}

func TestWithoutCredentialsTheAnswerAsksForBasic(t *testing.T) {
	d := newDesk(t)
	request := httptest.NewRequest(http.MethodGet, "https://"+registryName+"/v2/", nil)
	for _, value := range []string{"", "Bearer x", "Basic !"} {
		if value != "" {
			request.Header.Set("Authorization", value)
		}
		_, err := d.Authorized(request)
		answer := httptest.NewRecorder()
		err.(auth.Challenge).SetHeaders(request, answer)
		if got := answer.Header().Get("WWW-Authenticate"); got != `Basic realm="jil"` {
			t.Fatalf("%q asks for %q", value, got)
		}
	}
}

func TestNothingOfALoginIsInTheLogOrInAnError(t *testing.T) {
	d := newDesk(t)
	good := d.login(t, header(), claims())
	expired := d.login(t, header(), with(claims(), object{"exp": moment.Unix() - 1}))
	secret := "hunter2-hunter2-hunter2"
	said := &strings.Builder{}
	tell := func(err error) {
		if err != nil {
			said.WriteString(err.Error())
		}
	}
	tell(d.ask(t, UserPrefix+node, good, access("repository", "x", "push")))
	tell(d.ask(t, UserPrefix+node, expired, pull))
	tell(d.ask(t, UserPrefix+node, secret, pull))
	tell(d.ask(t, UserPrefix+secret, good, pull)) // the password in the wrong field
	tell(d.ask(t, "ci", secret, pull))
	all := said.String() + d.log.String()
	parts := append(strings.Split(good, "."), strings.Split(expired, ".")...)
	for _, part := range append(parts, secret, base64.StdEncoding.EncodeToString([]byte(good))) {
		if part != parts[0] && strings.Contains(all, part) {
			t.Errorf("%.20s… is in %s", part, all)
		}
	}
	if !strings.Contains(all, node) || !strings.Contains(all, errExpired.Error()) {
		t.Errorf("the log does not say who and why: %s", all)
	}
}

func TestAConfigurationThatCannotWorkIsRefusedAtTheStart(t *testing.T) {
	d := newDesk(t)
	weak, _ := rsa.GenerateKey(rand.Reader, 2048)
	d.write(t, "private.json", keySet(t, jose.JSONWebKey{Key: d.key, KeyID: keyID}))
	d.write(t, "rsa.json", keySet(t, jose.JSONWebKey{Key: weak.Public(), KeyID: keyID}))
	d.write(t, "nameless.json", keySet(t, jose.JSONWebKey{Key: d.key.Public()}))
	public := jose.JSONWebKey{Key: d.key.Public(), KeyID: keyID}
	d.write(t, "twice.json", keySet(t, public, public))
	d.write(t, "none.json", `{"keys": []}`)
	d.write(t, "empty.json", `{"keys": [{"kty": "OKP", "crv": "Ed25519", "x": "", "kid": "k"}]}`)
	// Order 8, with the sign bit set.
	eighth, _ := hex.DecodeString("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85")
	d.write(t, "small.json", keySet(t, jose.JSONWebKey{Key: ed25519.PublicKey(eighth), KeyID: "k"}))
	d.write(t, "text.json", "-----BEGIN PRIVATE KEY-----")
	d.write(t, "typo", "CH-ZUG\n")
	in := func(name string) string { return filepath.Join(d.folder, name) }
	for name, c := range map[string]struct {
		changes object
		says    string
	}{
		"no realm":         {object{"realm": nil}, "realm must be set"},
		"no audience":      {object{"audience": nil}, "audience must be set"},
		"no keys":          {object{"keys": nil}, "keys must be set"},
		"keys gone":        {object{"keys": in("gone")}, "no such file"},
		"a private key":    {object{"keys": in("private.json")}, "private key: the registry must not have it"},
		"an RSA key":       {object{"keys": in("rsa.json")}, "no Ed25519 key"},
		"a key without id": {object{"keys": in("nameless.json")}, "no kid"},
		"one id twice":     {object{"keys": in("twice.json")}, "two keys have the kid"},
		"an empty key":     {object{"keys": in("empty.json")}, "of small order"},
		"a small key":      {object{"keys": in("small.json")}, "of small order"},
		"an empty set":     {object{"keys": in("none.json")}, "has no key"},
		"no set":           {object{"keys": in("text.json")}, "not a JSON Web Key Set"},
		"denied gone":      {object{"denied": in("gone")}, "no such file"},
		"denied wrong":     {object{"denied": in("typo")}, "line 1 is no node id"},
		"lifetime":         {object{"maxlifetime": "a day"}, "not a duration"},
		"lifetime below 0": {object{"maxlifetime": "-1h"}, "not a duration"},
		"not a text":       {object{"realm": 1}, "not a text"},
		"an unknown one":   {object{"audiance": "x"}, "audiance is no option"},
	} {
		_, err := create(with(d.options(), c.changes))
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v does not say %q", name, err, c.says)
		}
	}
}
