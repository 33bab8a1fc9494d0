package oidcgate

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/alexedwards/scs/v2"
	"github.com/oidcgate/oidcgate/internal/provider"
	"github.com/oidcgate/oidcgate/internal/seal"
)

// Gate puts OpenID Connect login in front of a handler. It is made by [New], wrapped round a router by
// [Gate.Wrap], and asked by [Gate.Admit] or [Gate.Require] who may enter. All methods may be called
// concurrently. A gate holds no visitor's state: any number of replicas with the same configuration, store
// and keys are one gate.
type Gate struct {
	config       config
	providers    []*upstream
	ring         *seal.Ring
	fingerprint  [sha256.Size]byte // of the gate: BaseURL and cookie name
	sessions     *scs.SessionManager
	values       *scs.SessionManager // nil unless Config.Values
	events       *events
	flights      flights
	logoutChecks chan struct{}
	origins      *http.CrossOriginProtection
	routes       map[string]http.HandlerFunc
}

// upstream is one provider of a gate.
type upstream struct {
	name   string
	label  string // for people: the name, or the issuer's host
	issuer string
	origin string // of the issuer
	silent bool   // its logins are asked for with prompt=none
	client *provider.Client
}

// LoginURL returns the address that logs a visitor in and leads back to returnTo, a path of this site as the
// browser has it below BaseURL, for links in templates. It is opened in the same tab.
func (g *Gate) LoginURL(returnTo string) string {
	return g.ownURL("/login", returnTo)
}

// LogoutURL returns the address to POST to for logging out; a GET of it asks for confirmation first. After
// that the visitor comes to returnTo, or to a page that says "signed out" when it is empty.
func (g *Gate) LogoutURL(returnTo string) string {
	return g.ownURL("/logout", returnTo)
}

func (g *Gate) ownURL(route, returnTo string) string {
	u := g.config.origin + g.config.basePath + g.config.Prefix + route
	if returnTo == "" {
		return u
	}
	return u + "?" + url.Values{"return_to": {returnTo}}.Encode()
}

// siteURL is the absolute address of a checked path on this site.
func (g *Gate) siteURL(path string) string { return g.config.origin + g.config.basePath + path }

func (g *Gate) provider(name string) *upstream {
	for _, up := range g.providers {
		if up.name == name {
			return up
		}
	}
	return nil
}

func (g *Gate) upstreamOf(v *visit) *upstream {
	if v.identity == nil {
		return nil
	}
	return g.provider(v.identity.provider)
}

// frameOrigins are where the provider's logout page may be.
func (up *upstream) frameOrigins() string {
	origins := up.origin
	if end := up.client.EndSessionOrigin(); end != "" && end != up.origin {
		origins += " " + end
	}
	return origins
}

// subjectHash and sessionRef stand for a person and a session in events: keyed hashes, so that whoever reads
// them cannot try out names. They are the same on every replica with the same first key.
func (g *Gate) subjectHash(id *Identity) string {
	return g.hash("subject", id.Issuer()+"\x00"+id.Subject())
}

func (g *Gate) sessionRef(token string) string { return g.handleRef(g.handle(token)) }

func (g *Gate) handleRef(handle string) string { return g.hash("session", handle) }

func (g *Gate) hash(kind, value string) string {
	return base64.RawURLEncoding.EncodeToString(g.ring.Fingerprint(kind, value)[:9])
}

// Format prints the gate without its configuration, in which there are secrets.
func (g *Gate) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "oidcgate.Gate("+g.config.origin+g.config.basePath+")")
}
