package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

const document = "/.well-known/openid-configuration"

// discovery says whether the discovery document came.
func (r *report) discovery() {
	h := r.seen.Discovery
	if h.Address == "" && r.seen.Refused == nil {
		r.ok("discovery", "nothing is discovered, because all endpoints are configured")
		return
	}
	r.answer("discovery", "the discovery document", h, r.seen.Refused)
}

// answer says what is wrong with an answer as such. It returns false if there is a fault.
func (r *report) answer(name, what string, h op.Heard, refused error) bool {
	address := plain(h.Address)
	switch {
	case h.Err != nil:
		r.connection(name, h, refused)
	case h.Status >= 300 && h.Status < 400:
		r.fault(name, fmt.Sprintf("%s answers with status %d, a redirect to %s; redirects are not "+
			"followed", address, h.Status, quoted(h.Location)), movedCure(name, h))
	case h.Status == http.StatusNotFound:
		r.fault(name, fmt.Sprintf("%s answers with status 404: there is no such page", address),
			r.notFoundCure(name))
	case h.Status >= 500 || h.Status == http.StatusTooManyRequests:
		r.fault(name, fmt.Sprintf("%s answers with status %d: the provider is down, or something in "+
			"front of it", address, h.Status), "look at the provider's own log, and try again")
	case h.Status != http.StatusOK && h.Status != 0:
		r.fault(name, fmt.Sprintf("%s answers with status %d", address, h.Status),
			"the address must be open to everybody, without a login: look at the firewall or proxy in "+
				"front of the provider")
	case h.Status == http.StatusOK && !isObject(h.Body):
		r.fault(name, fmt.Sprintf("%s answers with %s that is not a JSON object", address, typeOf(h)),
			"open that address in a browser: it must show "+what+"; a page of HTML there often comes "+
				"from a proxy, a firewall or a single-page application")
	case h.Status == 0:
		r.fault(name, "nothing could be asked: "+errorText(refused), "correct the issuer")
	default:
		if name == "discovery" {
			r.ok(name, "%s answers", address)
		}
		return true
	}
	return false
}

func movedCure(name string, h op.Heard) string {
	at, _ := url.Parse(h.Location)
	base, err := url.Parse(h.Address)
	if name != "discovery" || at == nil || err != nil {
		return "ask the provider to announce the final address"
	}
	to := base.ResolveReference(at)
	to.RawQuery, to.Fragment = "", ""
	if issuer, ok := strings.CutSuffix(to.String(), document); ok {
		return "if " + quoted(to.String()) + " is the provider's, set Issuer to the \"issuer\" in it, " +
			"probably " + quoted(issuer)
	}
	return "set Issuer to the \"issuer\" of the final document, after you have made sure that it is " +
		"your provider's"
}

func (r *report) notFoundCure(name string) string {
	switch {
	case name == "discovery":
	case r.cfg.Endpoints.JWKS != "":
		return "compare Endpoints.JWKS with the jwks_uri in the provider's manual"
	default:
		return "the discovery document names a wrong jwks_uri: mend it at the provider, or set " +
			"Endpoints.JWKS"
	}
	return "find the address of the discovery document in the provider's manual; Issuer is what " +
		"stands before " + document + " in it, with its path, such as /realms/NAME at Keycloak; if " +
		"the document says otherwise, set Endpoints.Discovery too; a provider without ID Tokens may " +
		"have none: its service looks at it with Gate.Check"
}

// connection says why no answer came.
func (r *report) connection(name string, h op.Heard, refused error) {
	address := plain(h.Address)
	if text, cure := certificateFault(h.Err); text != "" {
		r.fault("tls", address+": "+text, cure)
		return
	}
	dns, isDNS := errors.AsType[*net.DNSError](h.Err)
	timeout, isNet := errors.AsType[net.Error](h.Err)
	dial, isOp := errors.AsType[*net.OpError](h.Err)
	switch {
	case isDNS:
		r.fault(name, fmt.Sprintf("%s: the host name %s cannot be resolved", address, quoted(dns.Name)),
			"correct the host name, or the DNS of this machine")
	case errors.Is(h.Err, context.DeadlineExceeded) || isNet && timeout.Timeout():
		r.fault(name, address+": no answer in time",
			"look for a firewall between this machine and the provider, and for a proxy that is needed "+
				"(HTTP.Transport)")
	case isOp && dial.Op == "dial":
		r.fault(name, address+": "+errorText(refused),
			"is the provider running, is the port right, and does a firewall let this machine through?")
	default:
		r.fault(name, address+": "+errorText(refused),
			"try the address from this machine with another program, such as curl")
	}
}

// certificateFault says what is wrong with the provider's TLS, or "".
func certificateFault(err error) (text, cure string) {
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		const day = time.RFC3339
		if time.Now().Before(e.Cert.NotBefore) {
			return "the certificate is valid only from " + e.Cert.NotBefore.UTC().Format(day),
				"look at this machine's clock; if it is right, the provider needs another certificate"
		}
		return "the certificate has expired, on " + e.Cert.NotAfter.UTC().Format(day),
			"renew the certificate at the provider; if it is new, look at this machine's clock"
	}
	if e, ok := errors.AsType[x509.HostnameError](err); ok {
		names := joined(append(slices.Clone(e.Certificate.DNSNames), addresses(e.Certificate)...))
		return "the certificate is for " + names + " and not for " + quoted(e.Host),
			"use a host name that is in the certificate, or have one issued for this name"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the certificate is signed by an authority that this machine does not know",
			"if your organisation has an authority of its own, give its certificate: HTTP.RootCAs in the " +
				"configuration, -ca FILE here; otherwise the provider must send its intermediate " +
				"certificates too"
	}
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "TLS: " + plain(e.Err.Error()), "have the certificate replaced at the provider"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the port does not speak TLS", "correct the port, or write http for a provider on this " +
			"machine"
	}
	e, ok := errors.AsType[*net.OpError](err)
	if ok && (e.Op == "remote error" || e.Op == "local error") {
		return "TLS: " + plain(e.Err.Error()), "the provider must offer TLS 1.2 or newer"
	}
	return "", ""
}

func addresses(c *x509.Certificate) (all []string) {
	for _, ip := range c.IPAddresses {
		all = append(all, ip.String())
	}
	return all
}

// soon is how long before its end a certificate is told about.
const soon = 14 * 24 * time.Hour

// certificate says how long the certificate is valid.
func (r *report) certificate() {
	h := r.seen.Discovery
	if h.Address == "" {
		h = r.seen.Keys
	}
	until := h.ValidUntil.UTC().Format(time.DateOnly)
	u, err := url.Parse(h.Address)
	switch {
	case err != nil || h.Err != nil || h.Status == 0:
	case u.Scheme == "http" && weburl.IsLoopback(u.Hostname()):
		r.ok("tls", "http, which is enough on this machine alone")
	case u.Scheme == "http":
		r.warn("tls", "the provider is asked over http: whoever is on the way can read and change it",
			"use https")
	case !h.ValidUntil.IsZero() && time.Until(h.ValidUntil) < soon:
		r.warn("tls", "the certificate is valid until "+until+" only", "renew it at the provider")
	case !h.ValidUntil.IsZero():
		r.ok("tls", "the certificate is valid until %s", until)
	}
}

// noticeable is a difference of clocks that is told about although logins work.
const noticeable = 10 * time.Second

// clock compares the provider's clock with ours. Each answer may have lain in a cache; the one that
// differs least counts.
func (r *report) clock() {
	least, known := time.Duration(0), false
	for _, h := range []op.Heard{r.seen.Discovery, r.seen.Keys} {
		if d, ok := ahead(h); ok && (!known || d.Abs() < least.Abs()) {
			least, known = d, true
		}
	}
	which := "ahead of"
	if least < 0 {
		which = "behind"
	}
	apart := least.Abs().Round(time.Second)
	text := fmt.Sprintf("the provider's clock is %v %s this machine's", apart, which)
	const cure = "correct the clock that is wrong, with NTP (timedatectl shows this machine's)"
	switch {
	case r.seen.Discovery.Status == 0 && r.seen.Keys.Status == 0: // there was no answer
	case !known:
		r.skip("clock", "not compared, because the provider's answers have no Date",
			"look whether this machine's clock is right (timedatectl shows it)")
	case apart > r.cfg.Leeway:
		r.fault("clock", fmt.Sprintf("%s; up to %v is accepted", text, r.cfg.Leeway), cure)
	case apart > noticeable:
		r.warn("clock", text, cure)
	default:
		r.ok("clock", "this machine's and the provider's agree")
	}
}

// ahead returns how far the provider's clock is ahead of ours. It is negative if it is behind. Date
// has whole seconds, and was written at some time between request and answer.
func ahead(h op.Heard) (time.Duration, bool) {
	switch {
	case h.Date.IsZero():
		return 0, false
	case h.Date.After(h.Came):
		return h.Date.Sub(h.Came), true
	case h.Date.Before(h.Asked.Add(-time.Second)):
		return h.Date.Sub(h.Asked), true
	}
	return 0, true
}

// keys says whether the provider's keys can be had and used.
func (r *report) keys() {
	h := r.seen.Keys
	if !r.cfg.NeedsKeys() || h.Address == "" {
		return
	}
	if !r.answer("keys", "the provider's keys", h, r.seen.KeysRefused) {
		return
	}
	kinds, none := keyKinds(h.Body)
	switch {
	case none:
		r.fault("keys", plain(h.Address)+" has no keys: no ID Token can be verified",
			"create a signing key at the provider, or activate one, and look whether the address is right")
	case r.seen.KeysRefused != nil:
		r.fault("keys", fmt.Sprintf("no key at %s fits %s: they are %s", plain(h.Address),
			joined(r.cfg.SigningAlgs), joined(kinds)),
			"create a key for that algorithm at the provider, or set Verification.SigningAlgs to one that "+
				"its keys are for")
	default:
		r.ok("keys", "%s has what verifies %s: %s", plain(h.Address), joined(r.cfg.SigningAlgs),
			joined(kinds))
	}
}

// keyKinds returns what the keys of a set are for, or their type if they do not say. none is true
// for a set without keys.
func keyKinds(body []byte) (kinds []string, none bool) {
	set, _ := claims.Parse(body)
	list, _ := set.Get("keys")
	none = true
	for e := range list.Elements() {
		none = false
		key, _ := e.Object()
		for _, member := range []string{"alg", "crv", "kty"} {
			v, _ := key.Get(member)
			if s, ok := v.Str(); ok {
				kinds = append(kinds, s)
				break
			}
		}
	}
	slices.Sort(kinds)
	return slices.Compact(kinds), none
}

func isObject(body []byte) bool {
	_, err := claims.Parse(body)
	return err == nil
}

func typeOf(h op.Heard) string {
	if t, _, err := mime.ParseMediaType(h.Type); err == nil {
		return plain(t)
	}
	return "something"
}

// errorText returns the text of an error of internal/op, without its address.
func errorText(err error) string {
	if e, ok := errors.AsType[*op.Error](err); ok && e.Err != nil {
		return e.Err.Error()
	}
	if err == nil {
		return "no cause is known"
	}
	return err.Error()
}

// reasonOf returns the reason of an error of internal/op, or "".
func reasonOf(err error) event.Reason {
	if e, ok := errors.AsType[*op.Error](err); ok {
		return e.Reason
	}
	return ""
}
