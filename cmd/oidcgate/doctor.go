package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/doctor"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/site"
)

const doctorHelp = `Asks a provider for its metadata and its keys as a login does. Prints what it
supports, what the configuration would use, what is wrong and how to mend it. With -client-id and
-base-url it also sends one authorization request with prompt=none, to see whether the redirect URI
is registered, and one code that nobody has, to see whether the provider takes the client.

OIDC_CLIENT_SECRET is the client secret. It goes to the token endpoint, and to that for pushed
requests (PAR). Exit status: 0 healthy, 1 faults, 2 usage.
`

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	issuer, clientID, baseURL, prefix, name string
	auth, profile, scopes, algs, userinfo   string
	responseType, responseMode, ca, key     string
	dpop, json, insecureHTTP                bool
	timeout                                 time.Duration
}

// words are the values of a flag and what they stand for.
type words[T any] []struct {
	word string
	is   T
}

func (w words[T]) find(flag, word string) (is T, err error) {
	var all []string
	for _, v := range w {
		if v.word == word {
			return v.is, nil
		}
		if v.word != "" {
			all = append(all, v.word)
		}
	}
	return is, fmt.Errorf("-%s: there is no %q; use one of %s", flag, word, strings.Join(all, ", "))
}

var (
	profiles = words[op.Profile]{
		{"none", op.NoProfile}, {"fapi2", op.FAPI2Security},
		{"fapi2-message-signing", op.FAPI2MessageSigning},
	}
	userinfoModes = words[op.UserinfoMode]{
		{"off", op.UserinfoOff}, {"optional", op.UserinfoOptional}, {"required", op.UserinfoRequired},
	}
	methods = words[string]{
		{"", ""}, {op.AuthBasic, op.AuthBasic}, {op.AuthPost, op.AuthPost}, {op.AuthNone, op.AuthNone},
		{op.AuthSecretJWT, op.AuthSecretJWT}, {op.AuthKeyJWT, op.AuthKeyJWT}, {op.AuthTLS, op.AuthTLS},
		{op.AuthSelfSigned, op.AuthSelfSigned},
	}
)

func (p process) doctor(ctx context.Context, args []string) int {
	var o doctorOptions
	f := p.flags("doctor", doctorHelp)
	f.StringVar(&o.issuer, "issuer", "", "the provider's issuer, byte for byte (required)")
	f.StringVar(&o.clientID, "client-id", "", "the client id")
	f.StringVar(&o.baseURL, "base-url", "", "the public address of the service, as in Config.BaseURL")
	f.StringVar(&o.prefix, "prefix", "/auth", "the path of the gate's routes, as in Site.Prefix")
	f.StringVar(&o.name, "name", "", "the provider's name in the gate, as in Provider.Name")
	f.StringVar(&o.auth, "auth", "", "how the client authenticates, such as client_secret_basic")
	f.StringVar(&o.profile, "profile", "none", "none, fapi2 or fapi2-message-signing")
	f.StringVar(&o.scopes, "scopes", "profile email", "scopes beside openid")
	f.StringVar(&o.algs, "algs", "", "algorithms that may sign ID Tokens (RS256, or the profile's)")
	f.StringVar(&o.userinfo, "userinfo", "off", "off, optional or required")
	f.StringVar(&o.responseType, "response-type", "code", "as in Request.ResponseType")
	f.StringVar(&o.responseMode, "response-mode", "", "as in Request.ResponseMode")
	f.BoolVar(&o.dpop, "dpop", false, "bind tokens to a key (DPoP)")
	f.StringVar(&o.ca, "ca", "", "a PEM file with authorities to trust in place of the system's")
	f.StringVar(&o.key, "key", "", "a PEM file with the client's private key, for private_key_jwt")
	f.BoolVar(&o.insecureHTTP, "insecure-allow-http", false, "as Config.InsecureAllowHTTP")
	f.DurationVar(&o.timeout, "timeout", 10*time.Second, "for each request")
	f.BoolVar(&o.json, "json", false, "print JSON in place of a table")
	if status, over := p.parse(f, args); over {
		return status
	}
	if o.issuer == "" {
		return p.wrong("doctor", "-issuer is missing; oidcgate doctor -h lists the flags")
	}
	cfg, err := o.config(p.getenv("OIDC_CLIENT_SECRET"))
	if err != nil {
		return p.wrong("doctor", "%v", err)
	}
	found := o.examine(ctx, cfg)
	if err := o.print(p.out, found); err != nil {
		return p.failed("doctor", err)
	}
	if !doctor.Healthy(found) {
		return exitFault
	}
	return exitOK
}

// listed returns the words of a list, with commas or spaces between them.
func listed(s string) []string { return strings.Fields(strings.ReplaceAll(s, ",", " ")) }

// config returns the configuration that the flags describe. It fails for a flag without a meaning.
func (o *doctorOptions) config(secret string) (cfg op.Config, err error) {
	cfg = op.Config{
		Issuer: o.issuer, ClientID: o.clientID, DPoP: o.dpop, AllowHTTP: o.insecureHTTP,
		Scopes: listed(o.scopes), SigningAlgs: listed(o.algs),
		SecretLength: len(secret), ResponseType: o.responseType, ResponseMode: o.responseMode,
		Leeway: time.Minute, Timeout: o.timeout, Notify: func(op.Notice) {},
		DiscoveryRefresh: time.Hour, JWKSRefresh: time.Hour, FixedKeys: true,
	}
	var errs []error
	keep := func(err error) { errs = append(errs, err) }
	cfg.Profile, err = profiles.find("profile", o.profile)
	keep(err)
	cfg.Userinfo, err = userinfoModes.find("userinfo", o.userinfo)
	keep(err)
	cfg.Auth.Method, err = methods.find("auth", o.auth)
	keep(err)
	if secret != "" {
		cfg.Auth.Secret = func(context.Context) (string, error) { return secret, nil }
	}
	if o.ca != "" {
		cfg.RootCAs, err = readAuthorities(o.ca)
		keep(err)
	}
	if o.key != "" {
		key, err := readKey(o.key)
		keep(err)
		cfg.ClientKeys = func(context.Context) ([]op.ClientKey, error) {
			return []op.ClientKey{{Private: key}}, nil
		}
	}
	cfg.Complete()
	return cfg, errors.Join(errs...)
}

// examine returns what is wrong with the flags as a configuration, and then with the provider.
func (o *doctorOptions) examine(ctx context.Context, cfg op.Config) []doctor.Finding {
	var faults check.List
	if o.baseURL != "" {
		at := site.Site{BaseURL: o.baseURL, Prefix: o.prefix, AllowHTTP: o.insecureHTTP}
		at.Complete(&faults)
		cfg.RedirectURL = at.URL(at.ProviderPath("/callback", o.name))
	}
	faults = append(faults, cfg.Faults()...)
	faults = slices.DeleteFunc(faults, func(f check.Fault) bool {
		return f.Field == "ClientID" && o.clientID == "" || f.Field == "ClientKeys" && o.key == "" ||
			f.Field == "Auth" && o.auth == ""
	})
	found := doctor.Configuration(faults)
	return append(found, doctor.Examine(ctx, op.New(cfg), doctor.Options{
		WithoutLogin:  o.clientID == "" || o.baseURL == "",
		WithoutSecret: !canAuthenticate(cfg),
	})...)
}

// canAuthenticate reports whether the flags have what the client authenticates with.
func canAuthenticate(cfg op.Config) bool {
	switch cfg.Auth.Method {
	case op.AuthNone:
		return true
	case op.AuthKeyJWT:
		return cfg.ClientKeys != nil
	case "", op.AuthTLS, op.AuthSelfSigned:
		return false
	}
	return cfg.Auth.Secret != nil
}

// print writes the findings, as gate.Check returns them, or as a table.
func (o *doctorOptions) print(w io.Writer, found []doctor.Finding) error {
	if !o.json {
		return doctor.WriteTable(w, found)
	}
	report := struct {
		Healthy  bool               `json:"healthy"`
		Findings []oidcgate.Finding `json:"findings"`
	}{Healthy: doctor.Healthy(found)}
	for _, f := range found {
		report.Findings = append(report.Findings, oidcgate.Finding{
			Provider: o.name, Name: f.Name, Level: oidcgate.FindingLevel(f.Level),
			Text: f.Text, Cure: f.Cure,
		})
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(report)
}

func readAuthorities(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("-ca: %s has no certificate in PEM", file)
	}
	return pool, nil
}

func readKey(file string) (crypto.PrivateKey, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("-key: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("-key: %s has no key in PEM", file)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("-key: %s has no PKCS #8 key", file)
	}
	return key, nil
}
