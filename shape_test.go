package oidcgate_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// identity returns who is signed in.
func (w *world) identity() *oidcgate.Identity {
	w.Helper()
	var id *oidcgate.Identity
	inner := w.handler
	w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { id, _ = oidcgate.FromContext(r.Context()) }))
	w.get("/")
	w.handler = inner
	if id == nil {
		w.Fatalf("nobody is signed in\n%s", w.logged())
	}
	return id
}

func TestClaimsOfAProvidersOwn(t *testing.T) {
	options := func(c oidcgate.ClaimOptions) func(*oidcgate.Config, *oidcgate.Provider) {
		return func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Claims, p.Userinfo = c, oidcgate.UserinfoRequired }
	}
	userinfo := func(w *world, more map[string]any) {
		w.op.Always(oidcgatetest.Userinfo, oidcgatetest.EditJSON(func(m map[string]any) {
			for name, v := range more {
				m[name] = v
			}
		}))
	}
	t.Run("members of an object are lifted, and claims of the protocol are not", func(t *testing.T) {
		w := newWorld(t, options(oidcgate.ClaimOptions{Unwrap: "attributes"}))
		userinfo(w, map[string]any{"nickname": "outer", "attributes": map[string]any{
			"team": "north", "nickname": "inner", "sub": "mallory", "iss": "https://evil.example", "sid": "x",
		}})
		w.login()
		id := w.identity()
		team, _ := id.ClaimString("team")
		nick, _ := id.ClaimString("nickname")
		if _, wrapped := id.ClaimJSON("attributes"); team != "north" || nick != "outer" || wrapped || id.Subject() != "alice" || id.Issuer() != w.op.Issuer() {
			t.Errorf("team %q, nickname %q, attributes there: %v, sub %q", team, nick, wrapped, id.Subject())
		}
	})
	t.Run("C075 the subject is never one that was lifted", func(t *testing.T) {
		w := newWorld(t, options(oidcgate.ClaimOptions{Unwrap: "attributes"}))
		w.op.Always(oidcgatetest.Userinfo, oidcgatetest.Answer(200, "application/json", `{"attributes":{"sub":"alice"}}`))
		w.denied(w.get(w.callbackURL("/app")), http.StatusBadGateway, "userinfo_sub")
	})
	for name, row := range map[string]struct {
		options oidcgate.ClaimOptions
		claims  map[string]any
		want    bool
	}{
		"a string, as it is":                 {oidcgate.ClaimOptions{}, map[string]any{"email_verified": "true"}, false},
		"a string, where the provider is so": {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": "true"}, true},
		"1":                                  {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": "1"}, true},
		"the string false":                   {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": "false"}, false},
		"another word":                       {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": "yes"}, false},
		"a number":                           {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": 1}, false},
		"a claim of its own":                 {oidcgate.ClaimOptions{EmailVerified: "xms_edov"}, map[string]any{"email_verified": false, "xms_edov": true}, true},
		"a claim of its own, false":          {oidcgate.ClaimOptions{EmailVerified: "xms_edov"}, map[string]any{"email_verified": true, "xms_edov": false}, false},
		"a claim of its own, missing":        {oidcgate.ClaimOptions{EmailVerified: "xms_edov"}, map[string]any{"email_verified": true}, false},
	} {
		t.Run("C073 an address is verified only where that is said: "+name, func(t *testing.T) {
			row.claims["email"] = "alice@example.com"
			w := newWorld(t, options(row.options))
			userinfo(w, row.claims)
			w.op.EveryIDToken(func(j *oidcgatetest.JWT) { delete(j.Claims, "email"); delete(j.Claims, "email_verified") })
			w.login()
			if address, verified := w.identity().Email(); address != "alice@example.com" || verified != row.want {
				t.Errorf("userinfo: Email returns %q, %v", address, verified)
			}
			w = newWorld(t, options(row.options))
			w.op.EveryIDToken(func(j *oidcgatetest.JWT) {
				for name, v := range row.claims {
					j.Claims[name] = v
				}
			})
			w.login()
			if address, verified := w.identity().Email(); address != "alice@example.com" || verified != row.want {
				t.Errorf("ID Token: Email returns %q, %v", address, verified)
			}
		})
	}
}

// An ID Token is read in the same way wherever it comes from, and whenever it is read again.
func TestVerifiedAddressesStayTheSame(t *testing.T) {
	for name, row := range map[string]struct {
		options oidcgate.ClaimOptions
		claims  map[string]any
		want    bool
	}{
		"not verified by the claim that counts": {oidcgate.ClaimOptions{EmailVerified: "xms_edov"}, map[string]any{"email_verified": true}, false},
		"verified by a string":                  {oidcgate.ClaimOptions{EmailVerifiedText: true}, map[string]any{"email_verified": "true"}, true},
	} {
		for kind, change := range map[string]func(*oidcgate.Config, *oidcgate.Provider){
			"an ID Token alone": func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ResponseType = "id_token" },
			"a re-read":         func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Tokens.ClaimsMaxAge = time.Minute },
			"a re-read and refreshed tokens without an ID Token": func(c *oidcgate.Config, p *oidcgate.Provider) {
				c.Tokens.ClaimsMaxAge, p.TokenRequest.LenientAnswers = time.Minute, true
			},
		} {
			inBubble(t, "C073 an address is verified only where that is said: "+name+", in "+kind, func(t *testing.T) {
				w := newWorld(t, change, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Claims = row.options })
				w.op.EveryIDToken(func(j *oidcgatetest.JWT) {
					j.Claims["email"] = "alice@example.com"
					delete(j.Claims, "email_verified")
					for name, v := range row.claims {
						j.Claims[name] = v
					}
				})
				if kind == "an ID Token alone" {
					w.arrive(w.response("/app"))
				} else {
					w.login()
				}
				w.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
					if strings.Contains(kind, "without") {
						delete(m, "id_token")
					}
				}))
				for range 3 {
					if address, verified := w.identity().Email(); address != "alice@example.com" || verified != row.want {
						t.Errorf("Email returns %q, %v, want %v", address, verified, row.want)
					}
					time.Sleep(2 * time.Minute)
				}
			})
		}
	}
}

func TestFurtherClaims(t *testing.T) {
	emails := func(ctx context.Context, id *oidcgate.Identity, client *http.Client) (map[string]any, error) {
		login, _ := id.ClaimString("login")
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://plain.test/user/emails?of="+login, nil)
		if err != nil {
			return nil, err
		}
		resp, err := client.Do(r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		var list []struct {
			Email             string
			Primary, Verified bool
		}
		if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.Primary {
				return map[string]any{"email": e.Email, "email_verified": e.Verified, "sub": "mallory"}, nil
			}
		}
		return nil, nil
	}
	with := func(ask func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error), origins ...string) func(*oidcgate.Config, *oidcgate.Provider) {
		return func(c *oidcgate.Config, p *oidcgate.Provider) {
			p.Claims.Further, p.Claims.FurtherOrigins = ask, origins
			c.Tokens.ClaimsMaxAge = time.Minute
		}
	}
	server := func() *plainServer {
		p := gitHubLike()
		p.more = map[string]string{"/user/emails": `[{"email":"x@example.com"},{"email":"octo@example.com","primary":true,"verified":true}]`}
		return p
	}
	inBubble(t, "addresses that the provider keeps apart, at the login and when claims are read again", func(t *testing.T) {
		p := server()
		w := newPlain(t, p, "id", with(emails, "https://plain.test"))
		w.get(w.get(w.get("/auth/login").location()).location())
		if address, verified := w.identity().Email(); address != "octo@example.com" || !verified || w.identity().Subject() != "9007199254740993" {
			t.Errorf("Email returns %q, %v", address, verified)
		}
		if r := p.request("/user/emails"); r == nil || !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer access-") || r.FormValue("of") != "octocat" {
			t.Errorf("the request is %+v", r)
		}
		p.more["/user/emails"] = `[{"email":"new@example.com","primary":true,"verified":false}]`
		time.Sleep(2 * time.Minute)
		if address, verified := w.identity().Email(); address != "new@example.com" || verified {
			t.Errorf("read again: Email returns %q, %v", address, verified)
		}
		p.more["/user/emails"] = `no JSON`
		time.Sleep(2 * time.Minute)
		if address, _ := w.identity().Email(); address != "new@example.com" {
			t.Errorf("while the address answers rubbish: Email returns %q", address)
		}
	})
	t.Run("C073 the flag of the address stays where none comes for it", func(t *testing.T) {
		p := server()
		p.user = `{"id":1,"email":"octo@example.com","email_verified":true}`
		w := newPlain(t, p, "id", with(func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
			return map[string]any{"groups": []string{"staff"}}, nil
		}))
		w.get(w.get(w.get("/auth/login").location()).location())
		if address, verified := w.identity().Email(); address != "octo@example.com" || !verified {
			t.Errorf("Email returns %q, %v", address, verified)
		}
	})
	t.Run("C073 the flag of one address says nothing of another", func(t *testing.T) {
		p := server()
		p.user = `{"id":1,"email":"old@example.com","email_verified":true}`
		w := newPlain(t, p, "id", with(func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
			return map[string]any{"email": "boss@example.com"}, nil
		}))
		w.get(w.get(w.get("/auth/login").location()).location())
		if address, verified := w.identity().Email(); address != "boss@example.com" || verified {
			t.Errorf("Email returns %q, %v", address, verified)
		}
	})
	inBubble(t, "it is not waited for without end", func(t *testing.T) {
		w := newPlain(t, server(), "id", with(func(ctx context.Context, _ *oidcgate.Identity, _ *http.Client) (map[string]any, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}))
		start := time.Now()
		w.denied(w.get(w.get(w.get("/auth/login").location()).location()), http.StatusBadGateway, "userinfo_error")
		if waited := time.Since(start); waited > time.Minute {
			t.Errorf("it was waited for %v", waited)
		}
	})
	for name, change := range map[string]func(*oidcgate.Config, *oidcgate.Provider){
		"C055 an origin that was not named": with(emails, "https://other.test"),
		"an error": with(func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
			return nil, errors.New("no table")
		}),
		"a panic": with(func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) { panic("no table") }),
		"no JSON": with(func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
			return map[string]any{"x": func() {}}, nil
		}),
	} {
		t.Run("it fails, and so does the login: "+name, func(t *testing.T) {
			w := newPlain(t, server(), "id", change)
			w.denied(w.get(w.get(w.get("/auth/login").location()).location()), http.StatusBadGateway, "userinfo_error")
			if !strings.Contains(w.failedLogin().Hint, "Claims.Further") {
				t.Errorf("hint %q", w.failedLogin().Hint)
			}
		})
	}
}

func TestLogoutWithoutHint(t *testing.T) {
	t.Run("C117 C118 all but the hint, and the way back", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.Style = oidcgate.LogoutWithoutHint })
		w.login()
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "return_to=%2Fpublic", "Sec-Fetch-Site: same-origin")
		u, err := url.Parse(a.location())
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		if q.Has("id_token_hint") || q.Get("client_id") != "shop" || q.Get("post_logout_redirect_uri") != shopURL+"/auth/logout/done" {
			t.Errorf("%d to %q", a.StatusCode, a.location())
		}
		if a := w.get("/auth/logout/done?state=" + q.Get("state")); a.location() != shopURL+"/public" {
			t.Errorf("back: %d to %q", a.StatusCode, a.location())
		}
	})
}

func TestLogoutStyles(t *testing.T) {
	for name, row := range map[string]struct {
		style oidcgate.LogoutStyle
		want  url.Values // nil: the browser stays here
	}{
		"Cognito": {oidcgate.LogoutCognito, url.Values{"client_id": {"shop"}, "logout_uri": {shopURL + "/auth/logout/done"}}},
		"Auth0":   {oidcgate.LogoutAuth0, url.Values{"client_id": {"shop"}, "returnTo": {shopURL + "/auth/logout/done"}}},
		"Kinde":   {oidcgate.LogoutKinde, url.Values{"redirect": {shopURL + "/auth/logout/done"}}},
		"off":     {oidcgate.LogoutOff, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) {
				p.Logout.Style, p.Endpoints.EndSession = row.style, "https://id.test/logout-of-its-own"
			})
			w.login()
			a := w.send(w.browser, http.MethodPost, "/auth/logout", "return_to=%2Fpublic", "Sec-Fetch-Site: same-origin")
			if row.want == nil {
				if a.location() != shopURL+"/public" {
					t.Errorf("%d to %q", a.StatusCode, a.location())
				}
				return
			}
			u, err := url.Parse(a.location())
			if err != nil || u.Path != "/logout-of-its-own" || u.Query().Encode() != row.want.Encode() {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
			if a := w.get("/auth/logout/done?state=x"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
				t.Errorf("C117 back with another state: %d\n%s", a.StatusCode, a.body)
			}
			if a := w.get("/auth/logout/done"); a.location() != shopURL+"/public" {
				t.Errorf("back from the provider: %d to %q\n%s", a.StatusCode, a.location(), a.body)
			}
			if a := w.get("/auth/logout/done"); a.StatusCode != http.StatusOK || !strings.Contains(a.body, "Signed out") {
				t.Errorf("once more: %d\n%s", a.StatusCode, a.body)
			}
		})
	}
	inBubble(t, "an id_token_hint that must not have expired is refreshed first", func(t *testing.T) {
		for _, fresh := range []bool{false, true} {
			w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.FreshHint = fresh })
			w.login()
			time.Sleep(50 * time.Minute)
			n := w.op.Count(oidcgatetest.Token)
			a := w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
			exp := expiryOf(t, mustQuery(t, a.location()).Get("id_token_hint"))
			if refreshed := w.op.Count(oidcgatetest.Token) - n; fresh != exp.After(time.Now()) || fresh != (refreshed == 1) {
				t.Errorf("FreshHint %v: the hint expires at %v, and there were %d token requests", fresh, exp, refreshed)
			}
		}
	})
}

func TestLogoutWithAFreshHint(t *testing.T) {
	fresh := func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.FreshHint = true }
	inBubble(t, "C087 the refresh token that comes with the hint is revoked too", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
		f := newFleetOf(t, op, 1, fresh)
		revoked := f.revocations()
		f.login()
		time.Sleep(50 * time.Minute)
		var came []string
		f.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) {
			token, _ := m["refresh_token"].(string)
			came = append(came, token)
		}))
		f.logout()
		if len(came) != 1 || came[0] == "" || !slices.Contains(revoked(), came[0]) {
			t.Errorf("came %q, revoked %q", came, revoked())
		}
	})
	inBubble(t, "C082 the refresh token is spent once, though a refresh is under way", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
		f := newFleetOf(t, op, 2, fresh)
		f.login()
		time.Sleep(50 * time.Minute)
		var mu sync.Mutex
		spent := map[string]int{}
		f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(time.Second), func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				spent[r.PostFormValue("refresh_token")]++
				mu.Unlock()
				next.ServeHTTP(w, r)
			})
		})
		done := make(chan struct{})
		go func() { defer close(done); f.token() }()
		time.Sleep(500 * time.Millisecond)
		if a := f.logout(); a.StatusCode != http.StatusSeeOther || f.subject() != "" {
			t.Errorf("status %d, signed in is %q", a.StatusCode, f.subject())
		}
		<-done
		for token, times := range spent {
			if times != 1 {
				t.Errorf("%q was sent %d times", token, times)
			}
		}
	})
	for _, between := range []time.Duration{0, 50 * time.Millisecond, time.Second} {
		inBubble(t, fmt.Sprintf("C117 C082 a second click %v later has a hint that has not expired, and spends nothing", between), func(t *testing.T) {
			op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
			f := newFleetOf(t, op, 2, fresh)
			f.login()
			time.Sleep(50 * time.Minute)
			f.op.Always(oidcgatetest.Token, oidcgatetest.Delay(200*time.Millisecond))
			before, cookie := f.op.Count(oidcgatetest.Token), "Cookie: __Host-Http-oidcgate="+f.cookie("__Host-Http-oidcgate")
			var clicks sync.WaitGroup
			for i := range 2 {
				clicks.Go(func() {
					a := f.send(f.newBrowser(), http.MethodPost, "/auth/logout", "", cookie, sameOrigin)
					hint := mustQuery(t, a.location()).Get("id_token_hint")
					if hint == "" || !expiryOf(t, hint).After(time.Now()) {
						t.Errorf("click %d: %d, the hint is %q", i+1, a.StatusCode, hint)
					}
				})
				time.Sleep(between)
			}
			clicks.Wait()
			if n := f.op.Count(oidcgatetest.Token) - before; n != 1 {
				t.Errorf("%d refreshes", n)
			}
		})
	}
	inBubble(t, "C117 F16 tokens that cannot be read give no hint, and the session ends", func(t *testing.T) {
		op := oidcgatetest.NewProvider(t, oidcgatetest.Config{RotateRefreshTokens: true, AccessTokenLifetime: 10 * time.Minute})
		f := newFleetOf(t, op, 1, fresh)
		f.login()
		time.Sleep(50 * time.Minute)
		f.drill.fail(on("get t:", errIll), nil)
		if a := f.logout(sameOrigin); a.StatusCode != http.StatusServiceUnavailable || !strings.Contains(a.body, "Signed out of this site only") {
			t.Errorf("status %d: %s", a.StatusCode, a.body)
		}
		f.drill.fail(nil, nil)
		if got := f.subject(); got != "" {
			t.Errorf("signed in as %q", got)
		}
	})
}

func TestLogoutWhileTheProviderHangs(t *testing.T) {
	inBubble(t, "C117 a refresh for the hint that is not answered keeps nobody signed in", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.FreshHint = true })
		w.login()
		time.Sleep(50 * time.Minute)
		w.op.Always(oidcgatetest.Token, oidcgatetest.Hang())
		a := w.send(w.browser, http.MethodPost, "/auth/logout", "", "Sec-Fetch-Site: same-origin")
		if a.StatusCode != http.StatusSeeOther || w.subject() != "" {
			t.Errorf("logging out answers %d, and signed in is %q\n%s", a.StatusCode, w.subject(), w.logged())
		}
	})
}

func TestOptionsThatContradict(t *testing.T) {
	for name, row := range map[string]struct {
		change func(*oidcgate.Provider)
		want   string
	}{
		"Auth0's logout is not the one that is announced": {func(p *oidcgate.Provider) { p.Logout.Style = oidcgate.LogoutAuth0 }, "Endpoints.EndSession"},
		"no style": {func(p *oidcgate.Provider) { p.Logout.Style = 9 }, "Logout.Style"},
		"a hint that is not sent": {func(p *oidcgate.Provider) {
			p.Logout = oidcgate.LogoutOptions{Style: oidcgate.LogoutOff, FreshHint: true}
		}, "Logout.FreshHint"},
		"an origin without a scheme":             {func(p *oidcgate.Provider) { p.Claims.FurtherOrigins = []string{"api.github.com"} }, "Claims.FurtherOrigins"},
		"http to another machine":                {func(p *oidcgate.Provider) { p.Claims.FurtherOrigins = []string{"http://api.github.com"} }, "Claims.FurtherOrigins"},
		"further calls without an access token":  {func(p *oidcgate.Provider) { p.Request.ResponseType = "id_token" }, "Claims.Further"},
		"members of userinfo, which nobody asks": {func(p *oidcgate.Provider) { p.Claims.Unwrap = "attributes" }, "Claims.Unwrap"},
	} {
		t.Run(name, func(t *testing.T) {
			p := oidcgate.Provider{Issuer: "https://id.test", ClientID: "shop", Auth: oidcgate.ClientSecretPost(secret)}
			p.Claims.Further = func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) { return nil, nil }
			row.change(&p)
			_, err := oidcgate.New(oidcgate.Config{BaseURL: "http://localhost:8080"}, p)
			if err == nil || !strings.Contains(err.Error(), "Provider."+row.want) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

// expiryOf returns when a JWT expires.
func expiryOf(t *testing.T, raw string) time.Time {
	t.Helper()
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is no JWT", raw)
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims struct{ Exp int64 }
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(claims.Exp, 0)
}

func TestManyLogoutsWithAFreshHint(t *testing.T) {
	inBubble(t, "F40 of one user refresh four at a time, and all end", func(t *testing.T) {
		f := newFleet(t, 1, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Logout.FreshHint = true })
		var browsers []*http.Client
		for range 20 {
			browsers = append(browsers, f.signInAs("alice"))
		}
		time.Sleep(30 * time.Minute)
		begun := time.Now()
		var now, most atomic.Int32
		f.op.Always(oidcgatetest.Token, func(next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n := now.Add(1); time.Since(begun) < 2900*time.Millisecond { // then the logouts give up
					most.Store(max(most.Load(), n))
				}
				time.Sleep(700 * time.Millisecond)
				now.Add(-1) // before the answer: then another may come
				next.ServeHTTP(w, r)
			})
		})
		var wg sync.WaitGroup
		for _, b := range browsers {
			wg.Go(func() { f.send(b, http.MethodPost, "/auth/logout", "", sameOrigin) })
		}
		wg.Wait()
		if n := most.Load(); n > 4 || n == 0 {
			t.Errorf("%d refreshes at once", n)
		}
		if left := strings.Trim(f.left(browsers...), "-,"); left != "" {
			t.Errorf("signed in: %s", left)
		}
		time.Sleep(time.Minute) // requests that were given up end
	})
}
