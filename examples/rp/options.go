package main

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate"
)

// options are the values of the flags and the environment variables. Options that are not set stay
// zero in config and provider, so the library's defaults apply.
type options struct {
	config   oidcgate.Config
	provider oidcgate.Provider

	addr, router    string
	tlsCert, tlsKey string
	redisURL        string
	redisTimeout    time.Duration
	clientAuth      string
	clientSecret    string
	clientAssertion string
	clientCert      string
	binding         string
	caFile          string
	adminGroup      string
	emailDomain     string
	stepUpAge       time.Duration
	groupsPrefix    string
	providersDir    string
	link            bool
	logLevel        slog.Level
}

// option is a flag and an environment variable with the same meaning. The flag is the variable's
// name in lower case with dashes: -base-url is BASE_URL. The flag wins over the variable. An empty
// value counts as not set.
type option struct {
	env   string
	usage string
	set   func(string) error

	value string // as given
}

func (o *options) all() []*option {
	c, p := &o.config, &o.provider
	return []*option{
		{env: "ADDR", usage: "address to listen on; 127.0.0.1:8080 if not set", set: text(&o.addr)},
		{env: "BASE_URL", usage: "the URL of this service in browsers, without the path; http://localhost:PORT if not set", set: text(&c.BaseURL)},
		{env: "ROUTER", usage: "mux, chi or gin; mux if not set", set: oneOf(&o.router, "mux", "chi", "gin")},
		{env: "TLS_CERT", usage: "file with the certificate to serve https with", set: text(&o.tlsCert)},
		{env: "TLS_KEY", usage: "file with the key of TLS_CERT", set: text(&o.tlsKey)},
		{env: "LOG_LEVEL", usage: "debug, info, warn or error; info if not set", set: level(&o.logLevel)},

		{env: "OIDC_PRESET", usage: "settings of a known provider, over which the other options win: " + presetNames(), set: preset(p)},
		{env: "OIDC_ISSUER", usage: "the provider's issuer identifier", set: text(&p.Issuer)},
		{env: "OIDC_CLIENT_ID", usage: "the id the provider gave this application", set: text(&p.ClientID)},
		{env: "OIDC_CLIENT_SECRET", usage: "the client secret that the provider gave this application", set: text(&o.clientSecret)},
		{env: "OIDC_CLIENT_AUTH", usage: "how to authenticate at the token endpoint; basic if not set:\n" +
			"basic, post, none, secret-jwt, key-jwt (with OIDC_CLIENT_KEYS), assertion (with OIDC_CLIENT_ASSERTION),\n" +
			"tls or self-signed-tls (with OIDC_CLIENT_CERT)", set: oneOf(&o.clientAuth, "basic", "post", "none", "secret-jwt", "key-jwt", "assertion", "tls", "self-signed-tls")},
		{env: "OIDC_CLIENT_KEYS", usage: "PEM files with the client's private keys, separated by commas, each with \"ALGORITHM:\" in front if the key's default does not fit", set: clientKeys(&p.ClientKeys)},
		{env: "OIDC_CLIENT_ASSERTION", usage: "file with a client assertion that another program writes", set: text(&o.clientAssertion)},
		{env: "OIDC_CLIENT_CERT", usage: "PEM file with the client's certificate and its private key", set: text(&o.clientCert)},
		{env: "OIDC_TOKEN_BINDING", usage: "what access tokens are bound to: dpop, or mtls (with OIDC_CLIENT_CERT); nothing if not set", set: oneOf(&o.binding, "dpop", "mtls")},
		{env: "OIDC_ASSERTION_AUDIENCE", usage: "audience of client assertions; the issuer if not set", set: text(&p.TokenRequest.AssertionAudience)},
		{env: "OIDC_TOKEN_JSON", usage: "true: send token requests as JSON", set: boolean(&p.TokenRequest.JSON)},
		{env: "OIDC_RAW_BASIC", usage: "true: do not encode id and secret in the Basic header", set: boolean(&p.TokenRequest.RawBasic)},
		{env: "OIDC_PROFILE", usage: "rules that the provider demands: fapi2-security or fapi2-message-signing", set: profile(&p.Profile)},
		{env: "OIDC_ESSENTIAL_ACR", usage: "true: ask for the class of login as an essential claim too", set: boolean(&p.Request.EssentialACR)},
		{env: "OIDC_THIRD_PARTY", usage: "true: other sites may begin logins at /auth/initiate", set: boolean(&p.Request.ThirdParty)},
		{env: "OIDC_SUBJECT_CLAIM", usage: "member of userinfo that identifies the user, at a provider without ID Tokens", set: o.subjectClaim},
		{env: "OIDC_NAME", usage: "name of the provider; it is the last segment of the callback's path", set: text(&p.Name)},
		{env: "OIDC_LABEL", usage: "name of the provider for visitors who choose one", set: text(&p.Label)},
		{env: "OIDC_SCOPES", usage: "scopes besides openid, separated by spaces or commas", set: list(&p.Scopes)},
		{env: "OIDC_AUTH_PARAMS", usage: "additional parameters of the authorization request, such as \"prompt=consent&ui_locales=de\"", set: params(&p.Request.Params)},
		{env: "OIDC_PUSHED", usage: "push authorization requests (PAR): announced, required or off; announced if not set", set: choice(&p.Request.Pushed, map[string]oidcgate.PushedMode{
			"announced": oidcgate.PushedIfAnnounced, "required": oidcgate.PushedRequired, "off": oidcgate.PushedOff,
		})},
		{env: "OIDC_REQUEST_OBJECT", usage: "sign authorization requests with OIDC_CLIENT_KEYS (JAR): off, signed or encrypted; off if not set", set: choice(&p.Request.Object, map[string]oidcgate.ObjectMode{
			"off": oidcgate.ObjectOff, "signed": oidcgate.ObjectSigned, "encrypted": oidcgate.ObjectEncrypted,
		})},
		{env: "OIDC_RESOURCES", usage: "services that access tokens are for, as URIs separated by spaces or commas", set: list(&p.Request.Resources)},
		{env: "OIDC_LINK_PARAMS", usage: "parameters that a link to the login may set, such as login_hint", set: list(&p.Request.LinkParams)},
		{env: "OIDC_PROMPT", usage: "the prompt of every login, such as login or select_account", set: text(&p.Request.Login.Prompt)},
		{env: "OIDC_MAX_AGE", usage: "how long ago the login at the provider may be", set: duration(&p.Request.Login.MaxAge)},
		{env: "OIDC_ACR_VALUES", usage: "classes of login that are accepted, separated by spaces or commas", set: list(&p.Request.Login.ACRValues)},
		{env: "OIDC_LOGIN_HINT", usage: "who logs in, such as an e-mail address", set: text(&p.Request.Login.LoginHint)},
		{env: "OIDC_ID_TOKEN_HINT", usage: "an ID Token of who should log in", set: text(&p.Request.Login.IDTokenHint)},
		{env: "OIDC_UI_LOCALES", usage: "languages of the provider's pages, separated by spaces or commas", set: list(&p.Request.Login.UILocales)},
		{env: "OIDC_DISPLAY", usage: "page, popup, touch or wap", set: text(&p.Request.Login.Display)},
		{env: "OIDC_CLAIMS", usage: "the claims parameter, a JSON object", set: text(&p.Request.Login.Claims)},
		{env: "OIDC_AUTHORIZATION_DETAILS", usage: "what the access token may do, a JSON array (RFC 9396)", set: text(&p.Request.Login.AuthorizationDetails)},
		{env: "OIDC_LOGIN_PARAMS", usage: "like OIDC_AUTH_PARAMS, and wins over it", set: params(&p.Request.Login.Params)},
		{env: "OIDC_RESPONSE_TYPE", usage: "what the provider answers with: code, \"code id_token\" or id_token; code if not set", set: text(&p.Request.ResponseType)},
		{env: "OIDC_RESPONSE_MODE", usage: "how the answer passes through the browser: query, form_post, fragment, or one of them with .jwt at its end", set: text(&p.Request.ResponseMode)},
		{env: "OIDC_PROMPT_LOGIN", usage: "true: add prompt=login to requests with a max_age", set: boolean(&p.Request.PromptLogin)},
		{env: "OIDC_USERINFO", usage: "call the userinfo endpoint: off, on or required", set: choice(&p.Userinfo, map[string]oidcgate.UserinfoMode{
			"off": oidcgate.UserinfoOff, "on": oidcgate.UserinfoOptional, "required": oidcgate.UserinfoRequired,
		})},
		{env: "OIDC_USERINFO_SIGNED", usage: "true: refuse userinfo responses that are not signed", set: boolean(&p.Verification.SignedUserinfo)},
		{env: "OIDC_ENCRYPTED", usage: "what is encrypted for this client, separated by commas: id_token, userinfo, authorization;\n" +
			"with keys in OIDC_CLIENT_KEYS such as RSA-OAEP-256:key.pem", set: encrypted(&p.Verification)},
		{env: "OIDC_SIGNING_ALGS", usage: "algorithms an ID Token may be signed with, separated by spaces or commas", set: list(&p.Verification.SigningAlgs)},
		{env: "OIDC_TRUSTED_AUDIENCES", usage: "other audiences that an ID Token may have beside the client, separated by spaces or commas", set: list(&p.Verification.TrustedAudiences)},
		{env: "OIDC_CLAIMS_UNWRAP", usage: "object in userinfo whose members are claims", set: text(&p.Claims.Unwrap)},
		{env: "OIDC_EMAIL_VERIFIED", usage: "claim that says that the e-mail address is verified; email_verified if not set", set: text(&p.Claims.EmailVerified)},
		{env: "OIDC_EMAIL_VERIFIED_TEXT", usage: "true: the strings true and 1 count for it too", set: boolean(&p.Claims.EmailVerifiedText)},
		{env: "OIDC_LOGOUT_STYLE", usage: "what the provider's logout takes: standard, cognito, auth0, kinde, without-hint or off", set: logoutStyle(&p.Logout.Style)},
		{env: "OIDC_LOGOUT_FRESH_HINT", usage: "true: refresh the ID Token before a logout if it has expired", set: boolean(&p.Logout.FreshHint)},
		{env: "OIDC_LOGOUT_WITHOUT_REVOCATION", usage: "true: revoke no refresh token", set: boolean(&p.Logout.WithoutRevocation)},
		{env: "OIDC_LENIENT_ANSWERS", usage: "true: accept token answers that are forms, or say ok: false", set: boolean(&p.TokenRequest.LenientAnswers)},
		{env: "OIDC_TENANTS", usage: "tenants whose users may log in, if OIDC_ISSUER has {tenantid}, separated by spaces or commas", set: list(&p.Verification.Tenants)},
		{env: "OIDC_ISSUERS", usage: "other issuers that an ID Token may have, separated by spaces or commas", set: list(&p.Verification.Issuers)},
		{env: "OIDC_RESPONSE_ISS", usage: "when the response parameter iss must be there: announced, required, codes or optional; announced if not set", set: choice(&p.Verification.ResponseIss, map[string]oidcgate.IssMode{
			"announced": oidcgate.IssIfAnnounced, "required": oidcgate.IssRequired, "codes": oidcgate.IssInCodes, "optional": oidcgate.IssOptional,
		})},
		{env: "OIDC_WITHOUT_PKCE", usage: "true: send no PKCE challenge, to a provider that fails on it", set: boolean(&p.Request.WithoutPKCE)},
		{env: "OIDC_WITHOUT_NONCE", usage: "true: accept ID Tokens without nonce", set: boolean(&p.Verification.WithoutNonce)},
		{env: "OIDC_ANY_NONCE_AT_REFRESH", usage: "true: accept refreshed ID Tokens with another nonce", set: boolean(&p.Verification.AnyNonceAtRefresh)},
		{env: "OIDC_REQUIRE_CLAIMS", usage: "claims of the ID Token and values of which each must have one, such as \"hd=shop.example&hd=shop.test\"", set: lists(&p.Verification.RequireClaims)},
		{env: "OIDC_PLAIN_ACCESS_TOKENS", usage: "true: accept access tokens of callers that do not follow RFC 9068", set: boolean(&p.Verification.PlainAccessTokens)},
		{env: "OIDC_LOGOUT_TYPE_JWT", usage: "true: accept logout tokens of the typ JWT", set: boolean(&p.Verification.LogoutTypeJWT)},
		{env: "OIDC_COMPRESSED_TOKENS", usage: "true: accept encrypted tokens that are compressed", set: boolean(&p.Verification.CompressedTokens)},
		{env: "OIDC_LOGOUT_WITHOUT_EXP", usage: "true: accept logout tokens without exp", set: boolean(&p.Verification.LogoutWithoutExp)},
		{env: "OIDC_DISCOVERY", usage: "address of the discovery document, if it is not below the issuer", set: text(&p.Endpoints.Discovery)},
		{env: "OIDC_AUTHORIZATION_ENDPOINT", usage: "used instead of the endpoint in the provider's metadata", set: text(&p.Endpoints.Authorization)},
		{env: "OIDC_PAR_ENDPOINT", usage: "used instead of the endpoint for pushed requests in the provider's metadata", set: text(&p.Endpoints.PushedAuthorization)},
		{env: "OIDC_TOKEN_ENDPOINT", usage: "used instead of the endpoint in the provider's metadata", set: text(&p.Endpoints.Token)},
		{env: "OIDC_USERINFO_ENDPOINT", usage: "used instead of the endpoint in the provider's metadata", set: text(&p.Endpoints.Userinfo)},
		{env: "OIDC_JWKS_URI", usage: "used instead of the address in the provider's metadata", set: text(&p.Endpoints.JWKS)},
		{env: "OIDC_INTROSPECTION_ENDPOINT", usage: "used instead of the endpoint in the provider's metadata", set: text(&p.Endpoints.Introspection)},
		{env: "OIDC_END_SESSION_ENDPOINT", usage: "used instead of the endpoint in the provider's metadata", set: text(&p.Endpoints.EndSession)},
		{env: "DISCOVERY_REFRESH", usage: "age at which the provider's metadata is fetched again", set: duration(&p.Endpoints.MaxAge)},
		{env: "JWKS_REFRESH", usage: "age at which the provider's keys are fetched again", set: duration(&p.Verification.KeysMaxAge)},
		{env: "PROVIDER_TIMEOUT", usage: "time limit of each request to the provider", set: duration(&c.HTTP.Timeout)},
		{env: "PROVIDERS", usage: "directory of further providers: a file NAME.env for each, with its OIDC_* options as lines such as OIDC_ISSUER=https://id.example;\n" +
			"POST /providers reads it again", set: text(&o.providersDir)},
		{env: "CA_FILE", usage: "PEM file with certificate authorities to trust for the provider, in addition to the system's", set: text(&o.caFile)},

		{env: "REDIS_URL", usage: "where sessions are stored; in memory if not set:\n" +
			"redis://HOST:PORT/DB, redis+sentinel://HOST:PORT,HOST:PORT/MASTER?db=DB of the Sentinels,\n" +
			"or redis+cluster://HOST:PORT,HOST:PORT of some nodes; each may have USER:PASSWORD@ before HOST", set: text(&o.redisURL)},
		{env: "REDIS_TIMEOUT", usage: "time limit of each call to Redis; 500ms if not set", set: duration(&o.redisTimeout)},
		{env: "SESSION_KEYS", usage: "keys that encrypt cookies and sessions, separated by commas, each 32 bytes in base64", set: keys(&c.Keys)},
		{env: "SESSION_VALUES", usage: "true: store the application's own values in sessions (/put and /get)", set: boolean(&c.EnableValues)},
		{env: "SESSION_LIFETIME", usage: "time after which every session ends", set: duration(&c.SessionLifetime)},
		{env: "IDLE_TIMEOUT", usage: "time without requests after which a session ends", set: duration(&c.IdleTimeout)},
		{env: "ATTEMPT_TTL", usage: "time in which a visitor must finish a login", set: duration(&c.Limits.LoginTimeout)},
		{env: "REFRESH_MARGIN", usage: "how long before its expiry an access token is refreshed, at most a quarter of its lifetime", set: duration(&c.Tokens.RefreshMargin)},
		{env: "LOCK_LEASE", usage: "time after which another replica may take over a refresh that a crashed replica began", set: duration(&c.Tokens.LockLease)},
		{env: "TOKEN_LIFETIME", usage: "lifetime of an access token if the provider does not send expires_in", set: duration(&c.Tokens.Lifetime)},
		{env: "REREAD_CLAIMS", usage: "age at which a session's claims are read again; never if not set", set: duration(&c.Tokens.ClaimsMaxAge)},
		{env: "KEEP_REFUSED", usage: "true: a session goes on when userinfo refuses its access token while claims are read again", set: boolean(&c.Tokens.KeepRefused)},
		{env: "END_WITH_TOKEN", usage: "true: a session ends when its access token has expired and cannot be refreshed", set: boolean(&c.Tokens.EndWithAccessToken)},
		{env: "API_AUDIENCE", usage: "names of this service in access tokens, separated by spaces or commas; without them there is neither /api nor /either", set: list(&c.API.Audience)},
		{env: "API_INTROSPECT", usage: "true: ask the provider about every access token", set: boolean(&c.API.Introspect)},
		{env: "API_INTROSPECT_MAX_AGE", usage: "how long the provider's answer about an access token counts", set: duration(&c.API.IntrospectMaxAge)},
		{env: "API_METADATA", usage: "true: serve /.well-known/oauth-protected-resource", set: boolean(&c.API.Metadata)},
		{env: "LEEWAY", usage: "how far the clocks of service and provider may differ", set: duration(&c.Limits.ClockSkew)},
		{env: "MAX_SESSION_BYTES", usage: "greatest size of a session in the store, in bytes", set: number(&c.Limits.SessionBytes)},
		{env: "USER_SESSIONS", usage: "how many sessions a user may have", set: number(&c.Limits.UserSessions)},
		{env: "WATCH_INTERVAL", usage: "time within which a stream notices that its session was ended elsewhere", set: duration(&c.Limits.WatchInterval)},
		{env: "COOKIE_NAME", usage: "name of the session cookie", set: text(&c.Site.CookieName)},
		{env: "ROUTE_PREFIX", usage: "path of the gate's own routes", set: text(&c.Site.Prefix)},
		{env: "SESSION_INFO", usage: "true: serve /auth/session, which tells scripts of the site's pages who is signed in", set: boolean(&c.Site.SessionInfo)},
		{env: "SESSION_CLAIMS", usage: "claims that /auth/session shows, separated by spaces or commas", set: list(&c.Site.SessionClaims)},
		{env: "LOGIN_PAGE", usage: "path of a page of this service to which guards lead, such as /sign-in; to the provider if not set", set: text(&c.Site.LoginPage)},
		{env: "DEFAULT_PATH", usage: "where the browser goes after a login that has no return path", set: text(&c.Site.DefaultPath)},
		{env: "PAGES_LANGUAGE", usage: "language of the gate's own pages, such as de; that of the browser if not set", set: language(&c.Pages.Language)},
		{env: "PAGES_WORDS", usage: "texts of those pages, a JSON object such as {\"de\":{\"back\":\"Zum Laden\"}}; docs/words.md lists the keys", set: words(&c.Pages.Words)},
		{env: "PAGES_NAME", usage: "name of the service above those pages", set: text(&c.Pages.Name)},
		{env: "PAGES_LOGO", usage: "image above those pages, such as data:image/png;base64,...", set: text(&c.Pages.Logo)},
		{env: "PAGES_ACCENT", usage: "colour of their buttons, such as #1d4ed8", set: text(&c.Pages.Accent)},
		{env: "PAGES_ACCENT_DARK", usage: "the same on devices with dark colours; PAGES_ACCENT if not set", set: text(&c.Pages.AccentDark)},
		{env: "DEV_PAGE", usage: "true: serve /auth/dev, which shows what the gate knows; on a loopback host alone", set: boolean(&c.DevPage)},
		{env: "INSECURE_ALLOW_HTTP", usage: "true: allow http for hosts other than loopback", set: boolean(&c.InsecureAllowHTTP)},

		{env: "ADMIN_GROUP", usage: "group whose members may see /admin; admin if not set", set: text(&o.adminGroup)},
		{env: "STEP_UP_AGE", usage: "how fresh the login for /fresh must be; 5m if not set", set: duration(&o.stepUpAge)},
		{env: "EMAIL_DOMAIN", usage: "users with a verified e-mail address in this domain may see /domain; example.com if not set", set: domain(&o.emailDomain)},
		{env: "LINK", usage: "true: a user may have several identities, and attaches them at /account", set: boolean(&o.link)},
		{env: "GROUPS_PREFIX", usage: "store only groups that begin with this text in the session; all if not set", set: text(&o.groupsPrefix)},
	}
}

// subjectClaim makes the provider one without ID Tokens. It keeps what the options before it set.
func (o *options) subjectClaim(name string) error {
	p, before := &o.provider, o.provider
	*p = oidcgate.OAuth2(oidcgate.OAuth2Options{SubjectClaim: name})
	p.Name, p.Label, p.Issuer, p.ClientID, p.Auth, p.Scopes = before.Name, before.Label, before.Issuer, before.ClientID, before.Auth, before.Scopes
	p.Endpoints, p.ClientKeys, p.Profile = before.Endpoints, before.ClientKeys, before.Profile
	p.Request, p.TokenRequest, p.Verification, p.Claims, p.Logout = before.Request, before.TokenRequest, before.Verification, before.Claims, before.Logout
	return nil
}

// readOptions returns the options, and an error that names every invalid one. It returns options
// even with an error, so that the caller can check the valid ones too. The options are nil if the
// command line cannot be parsed or asks for help; for help the error is flag.ErrHelp.
func readOptions(args []string, getenv func(string) string, help io.Writer) (*options, error) {
	o := &options{addr: "127.0.0.1:8080", router: "mux", clientAuth: "basic", adminGroup: "admin", emailDomain: "example.com", stepUpAge: 5 * time.Minute}
	all := o.all()
	flags := flag.NewFlagSet("rp", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // run returns the error, and main prints it
	for _, opt := range all {
		opt.value = getenv(opt.env)
		flags.Var(opt, opt.flag(), opt.usage)
	}
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			writeHelp(help, all)
			return nil, err
		}
		return nil, fmt.Errorf("rp: %w; -help lists the options", err)
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("rp: %q is not an option; -help lists them", flags.Arg(0))
	}
	return o, o.apply(all)
}

func (o *options) apply(all []*option) error {
	var faults []error
	for _, opt := range all {
		if opt.value == "" {
			continue
		}
		if err := opt.set(opt.value); err != nil {
			faults = append(faults, fmt.Errorf("rp: %s: %w", opt.env, err))
		}
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		faults = append(faults, errors.New("rp: TLS_CERT, TLS_KEY: one is set without the other; set both or none"))
	}
	if err := o.completeBaseURL(); err != nil {
		faults = append(faults, err)
	}
	if err := o.bind(); err != nil {
		faults = append(faults, err)
	}
	auth, err := o.auth()
	if err != nil {
		faults = append(faults, err)
	}
	o.provider.Auth = auth
	return errors.Join(faults...)
}

// completeBaseURL sets BASE_URL if it is not set. It uses localhost instead of an IP address,
// because providers and browsers make exceptions for localhost.
func (o *options) completeBaseURL() error {
	_, port, err := net.SplitHostPort(o.addr)
	if err != nil {
		return fmt.Errorf("rp: ADDR: %q is not an address; write one such as 127.0.0.1:8080", o.addr)
	}
	if o.config.BaseURL != "" {
		return nil
	}
	scheme := "http"
	if o.tlsCert != "" {
		scheme = "https"
	}
	o.config.BaseURL = scheme + "://localhost:" + port
	return nil
}

func (o *options) auth() (oidcgate.ClientAuth, error) {
	switch o.clientAuth {
	case "none":
		return oidcgate.PublicClient(), nil
	case "post":
		return oidcgate.ClientSecretPost(o.clientSecret), nil
	case "secret-jwt":
		return oidcgate.ClientSecretJWT(o.clientSecret), nil
	case "key-jwt":
		return oidcgate.PrivateKeyJWT(), nil
	case "assertion":
		return oidcgate.ClientAssertion(oidcgate.AssertionFile(o.clientAssertion)), nil
	case "tls", "self-signed-tls":
		return o.certificate()
	default:
		return oidcgate.ClientSecretBasic(o.clientSecret), nil
	}
}

// bind sets what access tokens are bound to.
func (o *options) bind() error {
	switch o.binding {
	case "dpop":
		o.provider.TokenRequest.Binding = oidcgate.DPoP()
	case "mtls":
		certificate, err := tls.LoadX509KeyPair(o.clientCert, o.clientCert)
		if err != nil {
			return fmt.Errorf("rp: OIDC_CLIENT_CERT: %w", err)
		}
		o.provider.TokenRequest.Binding = oidcgate.MutualTLS(certificate)
	}
	return nil
}

func (o *options) certificate() (oidcgate.ClientAuth, error) {
	certificate, err := tls.LoadX509KeyPair(o.clientCert, o.clientCert)
	if err != nil {
		return oidcgate.ClientAuth{}, fmt.Errorf("rp: OIDC_CLIENT_CERT: %w", err)
	}
	if o.clientAuth == "tls" {
		return oidcgate.TLSClientAuth(certificate), nil
	}
	return oidcgate.SelfSignedTLSClientAuth(certificate), nil
}

func writeHelp(w io.Writer, all []*option) {
	fmt.Fprint(w, "rp is a relying party for trying providers with oidcgate.\n\n"+
		"Each option is a flag or an environment variable; the flag wins. Options that are not set\n"+
		"have the library's default.\n\n")
	for _, opt := range all {
		fmt.Fprintf(w, "  -%s, %s\n        %s\n", opt.flag(), opt.env, strings.ReplaceAll(opt.usage, "\n", "\n        "))
	}
}

func (opt *option) flag() string { return strings.ReplaceAll(strings.ToLower(opt.env), "_", "-") }

// String implements flag.Value.
func (opt *option) String() string { return opt.value }

// Set implements flag.Value. It only stores the text. It does not parse it, because package flag
// stops at the first error and all errors are to be reported together.
func (opt *option) Set(value string) error {
	opt.value = value
	return nil
}

func text(p *string) func(string) error {
	return func(s string) error {
		*p = s
		return nil
	}
}

func oneOf(p *string, allowed ...string) func(string) error {
	return func(s string) error {
		for _, a := range allowed {
			if s == a {
				*p = s
				return nil
			}
		}
		return fmt.Errorf("%q is none of %s", s, strings.Join(allowed, ", "))
	}
}

func boolean(p *bool) func(string) error {
	return func(s string) error {
		switch strings.ToLower(s) {
		case "true", "on", "yes", "1":
			*p = true
		case "false", "off", "no", "0":
			*p = false
		default:
			return fmt.Errorf("%q is not true or false", s)
		}
		return nil
	}
}

func number(p *int) func(string) error {
	return func(s string) (err error) {
		if *p, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("%q is not a whole number", s)
		}
		return nil
	}
}

func duration(p *time.Duration) func(string) error {
	return func(s string) (err error) {
		if *p, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("%q is not a duration; write one such as 90s or 1h30m", s)
		}
		return nil
	}
}

func list(p *[]string) func(string) error {
	return func(s string) error {
		*p = strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r == ',' })
		return nil
	}
}

// encrypted takes the words in front of "_encrypted_response_alg".
func encrypted(v *oidcgate.Verification) func(string) error {
	return func(s string) error {
		for word := range strings.SplitSeq(s, ",") {
			switch word {
			case "id_token":
				v.EncryptedIDTokens = true
			case "userinfo":
				v.EncryptedUserinfo = true
			case "authorization":
				v.EncryptedResponses = true
			default:
				return fmt.Errorf("%q is none of id_token, userinfo, authorization", word)
			}
		}
		return nil
	}
}

func params(p *map[string]string) func(string) error {
	return func(s string) error {
		values, err := url.ParseQuery(s)
		if err != nil {
			return fmt.Errorf("%q is not of the form \"prompt=consent&ui_locales=de\"", s)
		}
		*p = make(map[string]string, len(values))
		for name, v := range values {
			if len(v) > 1 {
				return fmt.Errorf("%q is given twice", name)
			}
			(*p)[name] = v[0]
		}
		return nil
	}
}

// lists sets lists by name: each value of a query is one element.
func lists(p *map[string][]string) func(string) error {
	return func(s string) error {
		values, err := url.ParseQuery(s)
		if err != nil {
			return fmt.Errorf("%q is not of the form \"hd=shop.example&hd=shop.test\"", s)
		}
		*p = values
		return nil
	}
}

func keys(p *oidcgate.Keys) func(string) error {
	return func(s string) (err error) {
		*p, err = oidcgate.ParseKeys(s)
		return err
	}
}

func level(p *slog.Level) func(string) error {
	return func(s string) error {
		if p.UnmarshalText([]byte(s)) != nil {
			return fmt.Errorf("%q is none of debug, info, warn, error", s)
		}
		return nil
	}
}

// choice sets one of the values by its name.
func choice[T any](p *T, values map[string]T) func(string) error {
	return func(s string) error {
		value, ok := values[s]
		if !ok {
			return fmt.Errorf("%q is none of %s", s, strings.Join(slices.Sorted(maps.Keys(values)), ", "))
		}
		*p = value
		return nil
	}
}

var domainName = regexp.MustCompile(`^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*$`)

func domain(p *string) func(string) error {
	return func(s string) error {
		if !domainName.MatchString(s) {
			return fmt.Errorf("%q is not a domain; write one such as example.com", s)
		}
		*p = s
		return nil
	}
}

func logoutStyle(p *oidcgate.LogoutStyle) func(string) error {
	styles := map[string]oidcgate.LogoutStyle{
		"standard": oidcgate.LogoutStandard, "cognito": oidcgate.LogoutCognito, "auth0": oidcgate.LogoutAuth0,
		"kinde": oidcgate.LogoutKinde, "off": oidcgate.LogoutOff, "without-hint": oidcgate.LogoutWithoutHint,
	}
	return func(value string) error {
		style, ok := styles[value]
		if !ok {
			return fmt.Errorf("%q is no logout style; use standard, cognito, auth0, kinde, without-hint or off", value)
		}
		*p = style
		return nil
	}
}

func profile(p *oidcgate.Profile) func(string) error {
	return func(value string) error {
		switch value {
		case "fapi2-security":
			*p = oidcgate.FAPI2Security
		case "fapi2-message-signing":
			*p = oidcgate.FAPI2MessageSigning
		default:
			return fmt.Errorf("%q is no profile; use fapi2-security or fapi2-message-signing", value)
		}
		return nil
	}
}

// language sets a function that returns the same language for every request.
func language(to *func(*http.Request) string) func(string) error {
	return func(value string) error {
		*to = func(*http.Request) string { return value }
		return nil
	}
}

func words(to *map[string]map[string]string) func(string) error {
	return func(value string) error {
		if err := json.Unmarshal([]byte(value), to); err != nil {
			return fmt.Errorf("not a JSON object of languages with texts: %w", err)
		}
		return nil
	}
}
