package presets_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/presets"
)

const shop = "http://localhost:8080"

// visit is a browser at a shop whose users log in by a preset.
type visit struct {
	*testing.T
	browser *http.Client
	body    string             // of the last answer
	id      *oidcgate.Identity // who the last page saw
}

// open opens the shop. hosts are the provider's.
func open(t *testing.T, p oidcgate.Provider, hosts map[string]http.Handler) *visit {
	t.Helper()
	v := &visit{T: t}
	gate, err := oidcgate.New(oidcgate.Config{BaseURL: shop, HTTP: oidcgate.HTTPOptions{Transport: oidcgatetest.NewTransport(hosts)}}, p)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]http.Handler{"localhost:8080": gate.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if gate.Admit(w, r) {
			v.id, _ = oidcgate.FromContext(r.Context())
		}
	}))}
	for host, h := range hosts {
		all[host] = h
	}
	jar, _ := cookiejar.New(nil) // never fails
	v.browser = &http.Client{
		Jar: jar, Transport: oidcgatetest.NewTransport(all),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return v
}

// send sends a navigation and returns the answer's status and where it leads.
func (v *visit) send(method, address string, form url.Values) (status int, location string) {
	v.Helper()
	r, err := http.NewRequest(method, address, strings.NewReader(form.Encode()))
	if err != nil {
		v.Fatal(err)
	}
	r.Header.Set("Accept", "text/html")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	resp, err := v.browser.Do(r)
	if err != nil {
		v.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, _ := io.ReadAll(resp.Body)
	v.body = string(body)
	return resp.StatusCode, resp.Header.Get("Location")
}

var (
	action = regexp.MustCompile(`<form[^>]* action="([^"]*)"`)
	input  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// logIn opens a guarded page and goes wherever that leads. It returns the status at the end, and the
// authorization request.
func (v *visit) logIn() (status int, asked url.Values) {
	v.Helper()
	method, at, form := http.MethodGet, shop+"/", url.Values(nil)
	for range 10 {
		if strings.Contains(at, "client_id=") && asked == nil {
			u, err := url.Parse(at)
			if err != nil {
				v.Fatal(err)
			}
			asked = u.Query()
		}
		status, location := v.send(method, at, form)
		if location != "" {
			method, at, form = http.MethodGet, location, nil
			continue
		}
		posted := action.FindStringSubmatch(v.body)
		if posted == nil || status != http.StatusOK {
			return status, asked
		}
		method, at, form = http.MethodPost, html.UnescapeString(posted[1]), url.Values{}
		for _, field := range input.FindAllStringSubmatch(v.body, -1) {
			form.Set(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
		}
	}
	v.Fatalf("the login goes on and on, at %s", at)
	return 0, nil
}

// fake is a provider of the test kit with a preset's issuer.
func fake(t *testing.T, p oidcgate.Provider, c oidcgatetest.Config, client oidcgatetest.Client) (*oidcgatetest.Provider, map[string]http.Handler) {
	t.Helper()
	c.Issuer = p.Issuer
	op := oidcgatetest.NewProvider(t, c)
	client.ID, client.RedirectURLs = p.ClientID, []string{shop + "/auth/callback"}
	client.PostLogoutRedirectURLs = []string{shop + "/auth/logout/done"}
	op.AddClient(client)
	u, err := url.Parse(p.Issuer)
	if err != nil {
		t.Fatal(err)
	}
	return op, map[string]http.Handler{u.Host: op}
}

const secret = "a secret of the shop and its provider"

func TestGoogle(t *testing.T) {
	basic := oidcgatetest.Client{Secret: secret}
	for name, row := range map[string]struct {
		hd     string // of the user, "" for a private account
		status int
	}{"of the domain": {"shop.example", 200}, "of another": {"evil.example", 502}, "a private account": {"", 502}} {
		t.Run("hd is proven by its claim: "+name, func(t *testing.T) {
			p := presets.Google("shop", oidcgate.ClientSecretBasic(secret), "shop.example")
			op, hosts := fake(t, p, oidcgatetest.Config{}, basic)
			op.EveryIDToken(func(j *oidcgatetest.JWT) {
				j.Claims["iss"] = "accounts.google.com" // as it occurs
				if row.hd != "" {
					j.Claims["hd"] = row.hd
				}
			})
			v := open(t, p, hosts)
			status, asked := v.logIn()
			if (status == 200) != (row.status == 200) || asked.Get("hd") != "shop.example" || asked.Get("access_type") != "offline" {
				t.Errorf("status %d, asked %v\n%s", status, asked, v.body)
			}
			if row.status == 200 && v.id.Issuer() != "https://accounts.google.com" {
				t.Errorf("the issuer is %q", v.id.Issuer())
			}
		})
	}
}

func TestApple(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := presets.Apple("com.shop.web", presets.AppleKey{TeamID: "TEAM", KeyID: "KEY", Key: key})
	var secrets []string
	op, hosts := fake(t, p, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret, AuthMethod: oidcgatetest.ClientSecretPost})
	op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if err := r.ParseForm(); err != nil {
				t.Error(err)
			}
			secrets = append(secrets, r.PostForm.Get("client_secret"))
			r.PostForm.Set("client_secret", secret) // Apple verifies it; the kit compares
			r.Form.Set("client_secret", secret)
			next.ServeHTTP(w, r)
		})
	})
	op.EveryIDToken(func(j *oidcgatetest.JWT) {
		j.Claims["email"], j.Claims["email_verified"] = "x@privaterelay.example", "true"
	})
	v := open(t, p, hosts)
	status, asked := v.logIn()
	if status != 200 || asked.Get("response_mode") != "form_post" || v.id == nil {
		t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
	}
	if address, verified := v.id.Email(); address != "x@privaterelay.example" || !verified {
		t.Errorf("Email returns %q, %v", address, verified)
	}
	token, err := jwt.ParseSigned(secrets[0], []jose.SignatureAlgorithm{jose.ES256})
	var claims jwt.Claims
	if err == nil {
		err = token.Claims(key.Public(), &claims)
	}
	if err != nil || token.Headers[0].KeyID != "KEY" || claims.Issuer != "TEAM" || claims.Subject != "com.shop.web" ||
		!claims.Audience.Contains("https://appleid.apple.com") || claims.Expiry.Time().Sub(claims.IssuedAt.Time()).Hours() != 1 {
		t.Errorf("the secret has %+v (%v)", claims, err)
	}
}

func TestApereoCAS(t *testing.T) {
	for name, p := range map[string]oidcgate.Provider{
		"CAS":      presets.ApereoCAS("https://id.example/cas/oidc", "shop", oidcgate.ClientSecretBasic(secret)),
		"Unikname": presets.UniknameConnect("shop", oidcgate.ClientSecretBasic(secret)),
	} {
		t.Run(name, func(t *testing.T) {
			op, hosts := fake(t, p, oidcgatetest.Config{PushedRequests: true}, oidcgatetest.Client{Secret: secret})
			op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
				m["service"], m["attributes"] = "shop", map[string]any{"team": "north", "sub": "mallory"}
			}))
			v := open(t, p, hosts)
			if status, asked := v.logIn(); status != 200 || asked.Has("request_uri") || op.Count(oidcgatetest.PushedRequest) != 0 {
				t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
			}
			if team, _ := v.id.ClaimString("team"); team != "north" || v.id.Subject() != "alice" {
				t.Errorf("team %q, sub %q", team, v.id.Subject())
			}
		})
	}
}

func TestUnidy(t *testing.T) {
	p := presets.Unidy("https://shop.unidy.de", "shop", oidcgate.ClientSecretBasic(secret))
	_, hosts := fake(t, p, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret})
	v := open(t, p, hosts)
	if status, asked := v.logIn(); status != 200 || asked.Get("response_mode") != "query" {
		t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
	}
	if _, location := v.send("POST", shop+"/auth/logout", url.Values{}); !strings.Contains(location, "id_token_hint=") {
		t.Errorf("the logout goes to %q", location)
	}
}

func TestLogoutsOfPresets(t *testing.T) {
	basic := oidcgate.ClientSecretBasic(secret)
	for name, row := range map[string]struct {
		p    oidcgate.Provider
		want string
	}{
		"Cognito": {presets.Cognito("https://cognito-idp.eu-central-1.amazonaws.com/pool", "shop.auth.example", "shop", basic),
			"https://shop.auth.example/logout?client_id=shop&logout_uri=http%3A%2F%2Flocalhost%3A8080%2Fauth%2Flogout%2Fdone"},
		"Auth0": {presets.Auth0("shop.eu.auth0.com", "shop", basic, ""),
			"https://shop.eu.auth0.com/v2/logout?client_id=shop&returnTo=http%3A%2F%2Flocalhost%3A8080%2Fauth%2Flogout%2Fdone"},
		"GitLab, which has none": {presets.GitLab("https://gitlab.example", "shop", basic), ""},
		"Google, which has none": {presets.Google("shop", basic, ""), ""},
		"Salesforce":             {presets.Salesforce("https://login.salesforce.com", "shop", basic), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, hosts := fake(t, row.p, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret})
			v := open(t, row.p, hosts)
			if status, _ := v.logIn(); status != 200 {
				t.Fatalf("status %d\n%s", status, v.body)
			}
			if _, location := v.send("POST", shop+"/auth/logout", url.Values{}); location != row.want {
				t.Errorf("the logout goes to %q, want %q", location, row.want)
			}
		})
	}
}

func TestSlack(t *testing.T) {
	p := presets.Slack("shop", oidcgate.ClientSecretPost(secret))
	op, hosts := fake(t, p, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret, AuthMethod: oidcgatetest.ClientSecretPost})
	op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["ok"] = true }))
	v := open(t, p, hosts)
	if status, _ := v.logIn(); status != 200 {
		t.Fatalf("status %d\n%s", status, v.body)
	}
	op.Always(oidcgatetest.Token, oidcgatetest.Answer(200, "application/json", `{"ok":false,"error":"invalid_code"}`))
	v = open(t, p, hosts)
	if status, _ := v.logIn(); status != 502 {
		t.Errorf("a refusal with status 200 ends with %d\n%s", status, v.body)
	}
}

func TestEntraMultiTenant(t *testing.T) {
	const ours, others = "11111111-2222-3333-4444-555555555555", "99999999-2222-3333-4444-555555555555"
	for tenant, want := range map[string]bool{ours: true, others: false} {
		p := presets.EntraMultiTenant([]string{ours}, "shop", oidcgate.ClientSecretPost(secret))
		issuer := "https://login.microsoftonline.com/" + tenant + "/v2.0"
		one := p
		one.Issuer = issuer
		op, hosts := fake(t, one, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret, AuthMethod: oidcgatetest.ClientSecretPost})
		op.EveryIDToken(func(j *oidcgatetest.JWT) { j.Claims["tid"] = tenant })
		inner := hosts["login.microsoftonline.com"]
		hosts["login.microsoftonline.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/common/v2.0/.well-known/openid-configuration" {
				base := issuer
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprintf(w, `{"issuer":"https://login.microsoftonline.com/{tenantid}/v2.0","authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q,"response_types_supported":["code"],"subject_types_supported":["pairwise"],"id_token_signing_alg_values_supported":["RS256"]}`,
					base+"/authorize", base+"/token", base+"/jwks")
				return
			}
			inner.ServeHTTP(w, r)
		})
		v := open(t, p, hosts)
		status, _ := v.logIn()
		if signedIn := status == 200 && v.id != nil; signedIn != want {
			t.Errorf("tenant %s: status %d\n%s", tenant, status, v.body)
		}
		if want && v.id != nil && v.id.Issuer() != issuer {
			t.Errorf("the issuer is %q", v.id.Issuer())
		}
	}
}

// plain is an OAuth 2.0 server: it answers each path with a text, and authorization requests with a
// code.
type plain map[string]string

func (p plain) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.FormValue("response_type") == "code" {
		http.Redirect(w, r, r.FormValue("redirect_uri")+"?code=c&state="+r.FormValue("state"), http.StatusFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, p[r.URL.Path])
}

func TestOAuth2Presets(t *testing.T) {
	const tokens = `{"access_token":"at","token_type":"bearer","scope":"x"}`
	post := oidcgate.ClientSecretPost(secret)
	for name, row := range map[string]struct {
		p                  oidcgate.Provider
		server             plain
		hosts              []string
		subject, email     string
		verified, withPKCE bool
	}{
		"GitHub": {presets.GitHub("shop", post), plain{
			"/login/oauth/access_token": tokens, "/user": `{"id":583231,"login":"octocat","email":null}`,
			"/user/emails": `[{"email":"a@example.com","primary":false,"verified":true},{"email":"o@example.com","primary":true,"verified":true}]`,
		}, []string{"github.com", "api.github.com"}, "583231", "o@example.com", true, true},
		"Discord": {presets.Discord("shop", post), plain{
			"/api/oauth2/token": tokens, "/api/users/@me": `{"id":"80351110224678912","username":"nelly","email":"n@example.com","verified":false}`,
		}, []string{"discord.com"}, "80351110224678912", "n@example.com", false, true},
		"LinkedIn": {presets.LinkedIn("shop", post), plain{
			"/oauth/v2/accessToken": tokens, "/v2/userinfo": `{"sub":"782bbtaQ","name":"J","email":"j@example.com","email_verified":true}`,
		}, []string{"www.linkedin.com", "api.linkedin.com"}, "782bbtaQ", "j@example.com", true, false},
		"Unikname by its addresses": {presets.UniknameConnectEndpoints("shop", post), plain{
			"/oidc/accessToken": tokens, "/oidc/profile": `{"sub":"@bob","service":"shop","attributes":{"email":"b@example.com","sub":"mallory"}}`,
		}, []string{"connect.unikname.com"}, "@bob", "b@example.com", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			hosts := map[string]http.Handler{}
			for _, host := range row.hosts {
				hosts[host] = row.server
			}
			v := open(t, row.p, hosts)
			status, asked := v.logIn()
			if status != 200 || v.id == nil || asked.Has("code_challenge") != row.withPKCE {
				t.Fatalf("status %d, asked %v\n%s", status, asked, v.body)
			}
			if address, verified := v.id.Email(); v.id.Subject() != row.subject || address != row.email || verified != row.verified || v.id.HasIDToken() {
				t.Errorf("sub %q, Email %q, %v", v.id.Subject(), address, verified)
			}
		})
	}
}

func TestEntraGroups(t *testing.T) {
	const tenant = "11111111-2222-3333-4444-555555555555"
	for name, row := range map[string]struct {
		claims map[string]any
		graph  map[string]string
		want   []string
		status int
	}{
		"groups in the token": {map[string]any{"groups": []string{"a"}}, nil, []string{"a"}, 200},
		"too many for the token": {map[string]any{"_claim_names": map[string]any{"groups": "src1"}, "_claim_sources": map[string]any{"src1": map[string]any{"endpoint": "https://evil.example/"}}},
			map[string]string{"": `{"value":[{"id":"a"}],"@odata.nextLink":"https://graph.microsoft.com/next"}`, "/next": `{"value":[{"id":"b"}]}`}, []string{"a", "b"}, 200},
		"hasgroups":                      {map[string]any{"hasgroups": true}, map[string]string{"": `{"value":[]}`}, []string{}, 200},
		"Graph leads elsewhere":          {map[string]any{"hasgroups": true}, map[string]string{"": `{"value":[],"@odata.nextLink":"https://evil.example/"}`}, nil, 502},
		"Graph refuses: missing is none": {map[string]any{"hasgroups": true}, map[string]string{"": `no JSON`}, nil, 502},
	} {
		t.Run(name, func(t *testing.T) {
			p := presets.EntraGroups(presets.Entra(tenant, "shop", oidcgate.ClientSecretPost(secret)))
			op, hosts := fake(t, p, oidcgatetest.Config{}, oidcgatetest.Client{Secret: secret, AuthMethod: oidcgatetest.ClientSecretPost})
			op.EveryIDToken(func(j *oidcgatetest.JWT) {
				for name, v := range row.claims {
					j.Claims[name] = v
				}
			})
			hosts["graph.microsoft.com"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") {
					t.Error("no access token")
				}
				path := r.URL.Path
				if strings.HasPrefix(path, "/v1.0/me/transitiveMemberOf/") {
					path = ""
				}
				_, _ = io.WriteString(w, row.graph[path])
			})
			v := open(t, p, hosts)
			status, _ := v.logIn()
			if status != row.status {
				t.Fatalf("status %d\n%s", status, v.body)
			}
			if status != 200 {
				return
			}
			if groups, ok := v.id.ClaimStrings("groups"); !ok || fmt.Sprint(groups) != fmt.Sprint(row.want) {
				t.Errorf("groups %v, %v; want %v", groups, ok, row.want)
			}
		})
	}
}
