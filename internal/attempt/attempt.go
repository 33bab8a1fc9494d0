// Package attempt keeps in the browser, sealed, what is under way at the provider. It knows cookies
// and the keys, but neither the gate nor the store.
//
//	attempt.go  a login under way, and the secrets that are derived from it
//	keeper.go   its cookie: kept, found and dropped
//	step.go     what a stronger or a fresh login must bring
//	link.go     an address that begins the linking of an account, or a login with options
//	rounds.go   logins that succeed and are lost at once, counted
//	logout.go   a logout under way
package attempt

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// Attempt is one login under way. It is kept sealed in a cookie of its own, so that logins in
// several tabs do not disturb each other and abandoned logins cost the store nothing. State, nonce
// and code verifier are derived from its seed.
type Attempt struct {
	At
	Seed        []byte    `json:"s"`
	ReturnTo    string    `json:"r"`
	Start       time.Time `json:"t"`
	Step        Step      `json:"u,omitzero"`
	User        string    `json:"i,omitempty"` // whose step-up it is; see [UserOf]
	Interactive bool      `json:"a,omitempty"` // a login without interaction failed; this one may ask
	DPoP        string    `json:"d,omitempty"` // the algorithm of the key to which tokens are bound
	Link        string    `json:"l,omitempty"` // the session to which an identity is attached

	Silent  bool `json:"n,omitempty"` // sent with prompt=none
	Foreign bool `json:"f,omitempty"` // a page of another site began it

	// Options are other parameters of the request, as internal/op wrote them. They are kept in the
	// browser only for a silent login, which may have to be sent again, once.
	Options json.RawMessage `json:"o,omitempty"`

	IDTokenHint string `json:"-"` // sent with the request, and not kept

	cookie string // the name of its cookie
}

// At is where a login takes place. Client says which client at which issuer it is; see [ClientOf].
// It is empty in attempts that an older release began.
type At struct {
	Provider string `json:"p,omitempty"`
	Client   string `json:"c,omitempty"`
}

// ClientOf returns what stands for a client of an issuer in [At]. The name of a provider may pass
// to another issuer while logins are under way.
func ClientOf(issuer, clientID string) string { return shortHash(issuer, clientID) }

const (
	stateSize = 43 // 256 bits in base64url
	seedSize  = 32
)

// Format keeps the seed out of logs.
func (Attempt) Format(w fmt.State, _ rune) { _, _ = io.WriteString(w, "attempt") }

// Begin gives an attempt at a provider its seed and the time of now.
func (a *Attempt) Begin(at At) error {
	a.At, a.Start = at, time.Now().UTC().Truncate(time.Second)
	a.Seed = make([]byte, seedSize)
	_, err := io.ReadFull(rand.Reader, a.Seed)
	return err
}

// State returns the parameter "state" of the authorization request.
func (a *Attempt) State() string { return a.derive("state") }

// Nonce returns the parameter "nonce".
func (a *Attempt) Nonce() string { return a.derive("nonce") }

// Verifier returns the code verifier (RFC 7636, section 4.1).
func (a *Attempt) Verifier() string { return a.derive("code_verifier") }

// DPoPSecret returns the secret that stands for the key to which the tokens of this login are bound
// (RFC 9449).
func (a *Attempt) DPoPSecret() []byte { return []byte(a.derive("dpop")) }

// derive returns one of the attempt's secrets: 256 bits in 43 characters of base64url. Neither the
// seed nor another secret can be computed from it.
func (a *Attempt) derive(label string) string {
	key, err := hkdf.Expand(sha256.New, a.Seed, "oidcgate "+label, 32)
	if err != nil {
		panic(err) // only for more than 8160 bytes
	}
	return base64.RawURLEncoding.EncodeToString(key)
}

// UserOf returns what stands for a user in [Attempt.User].
func UserOf(issuer, subject string) string { return shortHash(issuer, subject) }

func shortHash(a, b string) string {
	sum := sha256.Sum256([]byte(a + "\x00" + b))
	return base64.RawURLEncoding.EncodeToString(sum[:12])
}

// IsFor reports whether a user may go on to the attempt's return path. After a step-up, only the
// user who was asked for it may: the page is what that user was about to do.
func (a *Attempt) IsFor(issuer, subject string) bool {
	return a.User == "" || a.User == UserOf(issuer, subject)
}

// Reference names the attempt in the store and in the session that it began.
func (a *Attempt) Reference() string { return Reference(a.State()) }

// Reference returns the reference of the attempt with that state.
func Reference(state string) string {
	sum := sha256.Sum256([]byte("oidcgate attempt\x00" + state))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
