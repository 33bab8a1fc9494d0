package registration

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// issuerRelation is what WebFinger calls the issuer of somebody (OpenID Connect Discovery 1.0,
// section 2).
const issuerRelation = "http://openid.net/specs/connect/1.0/issuer"

// FindIssuer returns the issuer of an identifier: an e-mail address, an acct URI, or the name or
// https URL of a host. It asks the host of the identifier (OpenID Connect Discovery 1.0, section
// 2.2), over https only. A host that is an IP address, this machine, or of a network without public
// names is not asked. Its name may still lead to an address inside your network: do not look up
// what visitors type. A redirect is not followed, although WebFinger allows it (RFC 7033, section
// 4.2): it leads where an answer wants.
//
// That host chooses the issuer. So the answer says which provider a domain wants, and not whom to
// trust: use it to set a provider up, and for domains that you know. To offer visitors the provider
// of their domain, use Config.HomeRealm with a list of your own.
func FindIssuer(ctx context.Context, client *http.Client, identifier string) (string, error) {
	const doing = "looking for an issuer"
	resource, host, err := normalize(identifier)
	if err != nil {
		return "", fail(doing, err)
	}
	query := url.Values{"resource": {resource}, "rel": {issuerRelation}}
	address := url.URL{
		Scheme: "https", Host: host, Path: "/.well-known/webfinger", RawQuery: query.Encode(),
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return "", fail(doing, errors.New("the identifier has no host that can be asked"))
	}
	req.Header.Set("Accept", "application/jrd+json, application/json")
	a, err := ask(client, req)
	if err != nil {
		return "", fail(doing, err)
	}
	if a.Status != http.StatusOK {
		return "", fail(doing, &Error{Status: a.Status})
	}
	if !op.HasMediaType(a.Header, "application/jrd+json", "application/json") {
		return "", fail(doing, errors.New("the answer is not application/jrd+json"))
	}
	issuer, err := readIssuer(a.Body)
	if err != nil {
		return "", fail(doing, err)
	}
	return issuer, nil
}

// normalize returns the resource that an identifier means, and the host to ask (OpenID Connect
// Discovery 1.0, section 2.1.2).
func normalize(identifier string) (resource, host string, err error) {
	identifier, _, _ = strings.Cut(strings.TrimSpace(identifier), "#")
	rest, isAccount := strings.CutPrefix(identifier, "acct:")
	at := strings.LastIndexByte(rest, '@')
	if isAccount || at > 0 && !strings.ContainsAny(rest, ":/?") {
		if at < 1 || strings.IndexByte(rest, '@') != at { // two readers may see two hosts
			return "", "", errors.New("the identifier is not a name, @ and a host")
		}
		host = rest[at+1:]
		resource = "acct:" + rest
	} else {
		if !strings.Contains(identifier, "://") {
			identifier = "https://" + identifier
		}
		u, err := weburl.Check(identifier, false)
		if err != nil { // http is only for this machine, which checkHost refuses
			return "", "", errors.New("the identifier is neither an e-mail address nor an https URL")
		}
		host, resource = u.Host, identifier
	}
	if err := checkHost(host); err != nil {
		return "", "", err
	}
	return resource, host, nil
}

// checkHost refuses hosts to which no domain of somebody belongs: addresses, this machine, and what
// is no host at all.
func checkHost(host string) error {
	u, err := weburl.Check("https://"+host, false)
	if err != nil || u.Host != host || u.Path != "" {
		return errors.New("the identifier has no host that can be asked")
	}
	name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	if _, err := netip.ParseAddr(name); err == nil || isNumeric(name) || weburl.IsLoopback(name) {
		return errors.New("the host of the identifier is an address, or this machine")
	}
	if !strings.Contains(name, ".") {
		return errors.New("the host of the identifier is not the full name of a domain")
	}
	top := name[strings.LastIndexByte(name, '.')+1:]
	if slices.Contains(privateDomains, top) || strings.HasSuffix(name, ".home.arpa") {
		return errors.New("the host of the identifier is one of a network without public names")
	}
	return nil
}

// privateDomains are the top-level domains that are for use inside a network alone (RFC 6761, RFC
// 6762; "internal" is reserved by ICANN), and those that are used so.
var privateDomains = []string{
	"localhost", "local", "internal", "localdomain", "lan", "intranet", "corp", "home", "private",
}

// isNumeric reports whether a host ends in a number. Resolvers take such a host for an IPv4 address
// in one of its old forms, such as 127.1 or 0x7f.1 (WHATWG URL, ends in a number).
func isNumeric(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last == "" || strings.HasPrefix(last, "0x") || strings.Trim(last, "0123456789") == ""
}

// readIssuer returns the one issuer that a JRD names (RFC 7033, section 4.4).
func readIssuer(body []byte) (string, error) {
	doc, err := claims.Parse(body)
	if err != nil {
		return "", errors.New("the answer is no JSON object in strict form")
	}
	links, _ := doc.Get("links")
	issuer := ""
	for link := range links.Elements() {
		o, _ := link.Object()
		if rel, _ := text(o, "rel"); rel != issuerRelation {
			continue
		}
		href, _ := text(o, "href")
		u, err := weburl.Check(href, false)
		if err != nil || u.Scheme != "https" || u.RawQuery != "" || u.ForceQuery {
			return "", errors.New("the issuer of the answer is no https URL without a query")
		}
		if issuer != "" && issuer != href {
			return "", errors.New("the answer names several issuers")
		}
		issuer = href
	}
	if issuer == "" {
		return "", errors.New("the host names no issuer for this identifier")
	}
	return issuer, nil
}
