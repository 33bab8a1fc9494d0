package oidcgate_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

var clientRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

// A client is registered for encrypted tokens, or for tokens signed with its secret. It logs in, by
// every way through the browser; refreshes; is logged out by the provider; and logs out there.
func TestRegisteredAlgorithms(t *testing.T) {
	const long = "a secret that has sixty-four bytes, so that HS512 can use it too"
	clientRSA() // outside of any bubble
	type algs = oidcgatetest.Algorithms
	ofRSA, ofEC := algs{Encrypted: "RSA-OAEP-256"}, algs{Encrypted: "ECDH-ES", Content: "A256GCM"}
	both := func(signed string, a algs) algs { a.Signed = signed; return a }
	for _, row := range []struct {
		name                        string
		responseType, mode          string
		idToken, userinfo, response algs
		signingAlg                  string
	}{
		{"C071 RSA-OAEP-256", "", "query.jwt", ofRSA, both("RS256", ofRSA), ofRSA, ""},
		{"C071 ECDH-ES", "", "query.jwt", ofEC, both("RS256", ofEC), ofEC, ""},
		{"C071 ECDH-ES+A256KW, userinfo encrypted only", "", "form_post.jwt", algs{Encrypted: "ECDH-ES+A256KW"}, ofRSA, ofRSA, ""},
		{"C071 both ID Tokens of a hybrid login", "code id_token", "fragment", ofEC, both("RS256", ofEC), algs{}, ""},
		{"C071 both ID Tokens of a hybrid login in an encrypted response", "code id_token", "form_post.jwt", ofEC, both("RS256", ofEC), ofRSA, ""},
		{"C071 the ID Token of an implicit login", "id_token", "form_post", ofRSA, algs{}, algs{}, ""},
		{"C014 HS256", "", "query.jwt", algs{Signed: "HS256"}, algs{Signed: "HS256"}, algs{Signed: "HS256"}, "HS256"},
		{"C014 HS384", "code id_token", "form_post", algs{Signed: "HS384"}, algs{Signed: "HS384"}, algs{}, "HS384"},
		{"C014 C071 HS512, encrypted", "code id_token", "fragment.jwt", both("HS512", ofEC), both("HS512", ofRSA), both("HS512", ofEC), "HS512"},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: time.Second, RotateRefreshTokens: true})
			w := newWorldOf(t, op, func(c *oidcgate.Config, p *oidcgate.Provider) {
				p.Auth = oidcgate.ClientSecretBasic(long)
				key := newClientKey(t)
				p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{
					{Key: newClientKey(t)}, {Key: clientRSA(), Algorithm: "RSA-OAEP-256"},
					{Key: key, ID: "ec", Algorithm: "ECDH-ES"}, {Key: key, ID: "kw", Algorithm: "ECDH-ES+A256KW"},
				})
				p.Request.ResponseType, p.Request.ResponseMode = row.responseType, row.mode
				if row.responseType != "id_token" {
					p.Userinfo = oidcgate.UserinfoRequired
				}
				p.Verification.SignedUserinfo = row.userinfo.Signed != ""
				p.Verification.EncryptedIDTokens = row.idToken.Encrypted != ""
				p.Verification.EncryptedUserinfo = row.userinfo.Encrypted != ""
				p.Verification.EncryptedResponses = row.response.Encrypted != ""
				if row.signingAlg != "" {
					p.Verification.SigningAlgs = []string{row.signingAlg}
				}
			})
			w.register(func(c *oidcgatetest.Client) {
				c.Secret, c.IDToken, c.Userinfo, c.Response = long, row.idToken, row.userinfo, row.response
				c.Keys, _ = w.publishedKeys("/auth/jwks")
			})
			alice := oidcgatetest.User{Subject: "alice", UserinfoClaims: map[string]any{"name": "Alice"}}
			if row.responseType == "id_token" {
				alice.Claims = alice.UserinfoClaims
			}
			w.op.SetUser(alice)
			if a := w.arriveBy(row.mode); a.StatusCode != http.StatusSeeOther {
				t.Fatalf("the login ends with %d:\n%s\n%s", a.StatusCode, a.body, w.logged())
			}
			if a := w.get("/whoami"); !strings.Contains(a.body, `"name":"Alice"`) {
				t.Errorf("/whoami: %s", a.body)
			}
			if row.responseType != "id_token" {
				w.refreshesOnce()
			}
			w.handler = w.gate.Wrap(w.shop())
			w.providerAcceptsHint()

			w.arriveBy(row.mode)
			form := url.Values{"logout_token": {w.op.NewJWT(w.logoutClaims("sub", "alice")).Compact()}}
			if a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form.Encode()); a.StatusCode != http.StatusOK || w.subject() != "" {
				t.Errorf("the logout by the provider: %d, and %q is signed in\n%s", a.StatusCode, w.subject(), w.logged())
			}
		})
	}
}

// arriveBy logs in by this response mode.
func (w *world) arriveBy(mode string) answer {
	w.Helper()
	address, posted := w.response("/app")
	if strings.HasPrefix(mode, "query") {
		return w.get(address)
	}
	return w.arrive(address, posted)
}

// refreshesOnce waits for the access token to expire and has it refreshed.
func (w *world) refreshesOnce() {
	w.Helper()
	before := w.op.Count(oidcgatetest.Token)
	time.Sleep(time.Second)
	var failure error
	w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, failure = w.gate.Token(r.Context())
	}))
	if w.get("/"); failure != nil || w.op.Count(oidcgatetest.Token) != before+1 {
		w.Errorf("the refresh: %v, %d token requests\n%s", failure, w.op.Count(oidcgatetest.Token)-before, w.logged())
	}
}

// providerAcceptsHint logs out. The hint is an ID Token that the provider can read.
func (w *world) providerAcceptsHint() {
	w.Helper()
	a := w.logout(sameOrigin)
	u, err := url.Parse(a.location())
	if err != nil || strings.Count(u.Query().Get("id_token_hint"), ".") != 2 {
		w.Fatalf("C117 C071 the hint is not a signed token: %q", a.location())
	}
	if end := w.get(u.String()); end.StatusCode != http.StatusSeeOther {
		w.Errorf("the provider answers the logout with %d:\n%s", end.StatusCode, end.body)
	}
}

// A token that is not encrypted as was agreed is refused, and so is one for a key that is gone.
func TestEncryptionAgreed(t *testing.T) {
	setup := func(t *testing.T) *world {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: newClientKey(t), Algorithm: "ECDH-ES"}})
			p.Verification.EncryptedIDTokens = true
		})
		return w
	}
	t.Run("C071 an ID Token that is signed only", func(t *testing.T) {
		w := setup(t)
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "not_encrypted")
	})
	t.Run("C071 a logout token that is signed only", func(t *testing.T) {
		w := setup(t)
		form := url.Values{"logout_token": {w.op.NewJWT(w.logoutClaims("sub", "alice")).Compact()}}
		a := w.send(w.newBrowser(), http.MethodPost, "/auth/backchannel-logout", form.Encode())
		rejected := w.eventsOf(oidcgate.EventBackchannelRejected)
		if a.StatusCode != http.StatusBadRequest || len(rejected) != 1 || rejected[0].Reason != "not_encrypted" {
			t.Errorf("%d, events %+v", a.StatusCode, rejected)
		}
	})
	t.Run("C071 an ID Token for a key that the client does not have", func(t *testing.T) {
		w := setup(t)
		w.register(func(c *oidcgatetest.Client) {
			c.Secret, c.IDToken = secret, oidcgatetest.Algorithms{Encrypted: "ECDH-ES"}
			c.Keys, _ = w.publishedKeys("/auth/jwks")
			c.Keys.Keys[0].Key = newClientKey(t).Public()
		})
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "decryption")
	})
	inBubble(t, "C071 after a refresh too, the session goes on until the provider has the keys again", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{AccessTokenLifetime: time.Second, RotateRefreshTokens: true})
		w := newWorldOf(t, op, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: newClientKey(t), Algorithm: "ECDH-ES"}})
		})
		w.login()
		w.register(func(c *oidcgatetest.Client) {
			c.Secret, c.IDToken = secret, oidcgatetest.Algorithms{Encrypted: "ECDH-ES"}
			c.Keys, _ = w.publishedKeys("/auth/jwks")
			c.Keys.Keys[0].Key = newClientKey(t).Public()
		})
		time.Sleep(time.Second)
		var failure error
		w.handler = w.gate.Wrap(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, failure = w.gate.Token(r.Context())
			w.whoami(rw, r)
		}))
		w.get("/")
		a := w.get("/")
		synctest.Wait() // for the log
		if failure == nil || a.StatusCode != http.StatusOK || !strings.Contains(w.logged(), "decryption") {
			t.Errorf("Token: %v, and the page answers %d\n%s", failure, a.StatusCode, w.logged())
		}
	})
}

func TestCompressedIDTokenThatGrowsTooMuch(t *testing.T) {
	inBubble(t, "C113 F38 what a user writes makes a refreshed ID Token grow too much: nobody keeps a group by it", func(t *testing.T) {
		f := newFleet(t, 2, rereads, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.Verification.EncryptedIDTokens, p.Verification.CompressedTokens = true, true
			p.ClientKeys = oidcgate.NewClientKeys([]oidcgate.ClientKey{{Key: clientRSA(), Algorithm: "RSA-OAEP-256"}})
		})
		keys, _ := f.publishedKeys("/auth/jwks")
		client := oidcgatetest.Client{
			ID: "shop", Secret: secret, RedirectURLs: []string{shopURL + "/auth/callback"},
			IDToken: oidcgatetest.Algorithms{Encrypted: "RSA-OAEP-256"}, Keys: keys,
		}
		f.op.AddClient(client)
		f.op.SetUser(inGroups("admin"))
		f.login()
		client.IDToken = oidcgatetest.Algorithms{} // the test encrypts
		f.op.AddClient(client)
		f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			inner := f.op.NewJWT(map[string]any{
				"iss": f.op.Issuer(), "sub": "alice", "aud": "shop", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
				"bio": strings.Repeat("a", 300<<10),
			}).Compact()
			e, err := jose.NewEncrypter(jose.A128CBC_HS256, jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: clientRSA().Public()},
				(&jose.EncrypterOptions{Compression: jose.DEFLATE}).WithContentType("JWT"))
			if err != nil {
				t.Fatal(err)
			}
			jwe, err := e.Encrypt([]byte(inner))
			if err != nil {
				t.Fatal(err)
			}
			m["id_token"], _ = jwe.CompactSerialize()
		}))
		time.Sleep(11 * time.Minute)
		f.get("/app")
		if got := f.subject(); got != "" {
			t.Errorf("signed in: %q", got)
		}
		f.reportedOnce(oidcgate.EventRefreshFailed, "decryption")
	})
}
