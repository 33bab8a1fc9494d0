package oidcgate_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

var (
	formAction = regexp.MustCompile(`<form method="post" action="([^"]*)"( data-fragment)?>`)
	formField  = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// postedForm is the form of a page that posts itself.
func (w *world) postedForm(page string) (action string, fields url.Values, fromFragment bool) {
	w.Helper()
	form := formAction.FindStringSubmatch(page)
	if form == nil {
		w.Fatalf("no form:\n%s", page)
	}
	fields = url.Values{}
	for _, field := range formField.FindAllStringSubmatch(page, -1) {
		fields.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	return html.UnescapeString(form[1]), fields, form[2] != ""
}

// response begins a login for a page and returns how the provider sends the browser back: to an
// address, or with a form that it posts there.
func (w *world) response(page string) (address string, posted url.Values) {
	w.Helper()
	a := w.get(w.authorization("/auth/login?return_to=" + url.QueryEscape(page)).String())
	if a.location() != "" {
		return a.location(), nil
	}
	action, fields, _ := w.postedForm(a.body)
	return action, fields
}

// arrive does what a browser does when the provider has answered: it keeps the fragment to itself,
// sends no Lax cookie with the post of another site, and runs the script of our own page.
func (w *world) arrive(address string, posted url.Values) answer {
	w.Helper()
	var a answer
	if posted == nil {
		address, fragment, _ := strings.Cut(address, "#")
		a = w.get(address)
		if a.StatusCode != http.StatusOK {
			return a
		}
		action, fields, fromFragment := w.postedForm(a.body)
		if !fromFragment {
			w.Fatalf("a form with the response in its fields")
		}
		more, _ := url.ParseQuery(fragment)
		for name, values := range more {
			fields[name] = values
		}
		return w.send(w.browser, http.MethodPost, action, fields.Encode(), "Sec-Fetch-Site: same-origin")
	}
	a = w.send(w.newBrowser(), http.MethodPost, address, posted.Encode(), "Sec-Fetch-Site: cross-site")
	if a.StatusCode != http.StatusOK {
		return a
	}
	if len(a.Cookies()) != 0 {
		w.Errorf("C043 the first post sets cookies: %v", a.Cookies())
	}
	action, fields, _ := w.postedForm(a.body)
	return w.send(w.browser, http.MethodPost, action, fields.Encode(), "Sec-Fetch-Site: same-origin")
}

// answering has the provider answer by this type and mode.
func answering(responseType, mode string) func(*oidcgate.Config, *oidcgate.Provider) {
	return func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Request.ResponseType, p.Request.ResponseMode = responseType, mode
	}
}

// responses are all types with all modes that they may have.
var responses = []struct{ responseType, mode string }{
	{"", ""}, {"code", "query"}, {"code", "form_post"}, {"code", "fragment"},
	{"code", "jwt"}, {"code", "query.jwt"}, {"code", "form_post.jwt"}, {"code", "fragment.jwt"},
	{"code id_token", ""}, {"code id_token", "form_post"}, {"code id_token", "fragment"},
	{"code id_token", "jwt"}, {"code id_token", "form_post.jwt"}, {"code id_token", "fragment.jwt"},
	{"id_token", ""}, {"id_token", "form_post"}, {"id_token", "fragment.jwt"}, {"id_token", "form_post.jwt"},
}

func TestResponses(t *testing.T) {
	for _, row := range responses {
		name := cmp.Or(row.responseType, "no type") + " by " + cmp.Or(row.mode, "no mode")
		t.Run("C034 C038 C043 C044 "+name+": signed in, with a code that was sent once", func(t *testing.T) {
			w := newWorld(t, answering(row.responseType, row.mode))
			address, posted := w.response("/app?x=1")
			for range 2 { // the second is a reload, or the back button
				a := w.arrive(address, posted)
				if a.StatusCode != http.StatusSeeOther || !strings.HasPrefix(a.location(), shopURL+"/") {
					t.Fatalf("%d to %q\n%s\n%s", a.StatusCode, a.location(), a.body, w.logged())
				}
				if strings.ContainsAny(a.location(), "#") || strings.Contains(a.location(), "code=") {
					t.Errorf("C044 the answer leads to %q", a.location())
				}
			}
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in: %q", got)
			}
			want := 1
			if row.responseType == "id_token" {
				want = 0
			}
			w.tokenCalls(want)
		})
		t.Run("C036 "+name+": an error is shown, and the login can begin again", func(t *testing.T) {
			w := newWorld(t, answering(row.responseType, row.mode))
			w.op.SetNobody()
			w.denied(w.arrive(w.response("/app")), http.StatusForbidden, "op_error:access_denied")
			w.tokenCalls(0)
			w.op.SetUser(oidcgatetest.User{Subject: "bob"})
			w.arrive(w.response("/app"))
			if got := w.subject(); got != "bob" {
				t.Errorf("signed in: %q", got)
			}
		})
		t.Run("C046 "+name+": a signed-in visitor gets a new session", func(t *testing.T) {
			w := newWorld(t, answering(row.responseType, row.mode))
			w.arrive(w.response("/app"))
			before := w.cookie("__Host-Http-oidcgate")
			w.op.SetUser(oidcgatetest.User{Subject: "bob"})
			w.arrive(w.response("/app"))
			if got := w.subject(); got != "bob" || w.cookie("__Host-Http-oidcgate") == before {
				t.Errorf("signed in: %q", got)
			}
			w.setCookie("__Host-Http-oidcgate", before)
			if got := w.subject(); got != "" {
				t.Errorf("the session before still is %q", got)
			}
		})
	}
}

// A response is read from the channel that was agreed, and from no other.
func TestResponseChannels(t *testing.T) {
	type request struct {
		name, method  string
		query, posted bool // where the response is
		headers       []string
	}
	const form = "Content-Type: application/x-www-form-urlencoded"
	requests := []request{
		{"a GET with the response in the query", "GET", true, false, nil},
		{"a POST with the response in the body", "POST", false, true, []string{form}},
		{"a POST from another site", "POST", false, true, []string{form, "Sec-Fetch-Site: cross-site"}},
		{"a POST with the response in the query", "POST", true, false, []string{form}},
		{"a POST with the response in both", "POST", true, true, []string{form}},
		{"a multipart POST", "POST", false, true, []string{"Content-Type: multipart/form-data; boundary=x"}},
		{"a POST of plain text", "POST", false, true, []string{"Content-Type: text/plain"}},
		{"a PUT", "PUT", false, true, []string{form}},
		{"a HEAD", "HEAD", true, false, nil},
	}
	taken := map[string][]string{
		"query":     {"a GET with the response in the query"},
		"form_post": {"a POST with the response in the body", "a POST from another site"},
		"fragment":  {"a POST with the response in the body"}, // from our own page
	}
	for mode, good := range taken {
		for _, r := range requests {
			t.Run("C034 "+mode+": "+r.name, func(t *testing.T) {
				w := newWorld(t, answering("code", mode))
				address, response := w.response("/app")
				address, query, _ := strings.Cut(strings.Replace(address, "#", "?", 1), "?")
				if response == nil {
					response, _ = url.ParseQuery(query)
				}
				target, body := address, ""
				if r.query {
					target += "?" + response.Encode()
				}
				if r.posted {
					body = response.Encode()
				}
				a := w.send(w.browser, r.method, target, body, r.headers...)
				wantTaken := false
				for _, name := range good {
					wantTaken = wantTaken || name == r.name
				}
				if wantTaken {
					if got := w.subject(); got != "alice" {
						t.Errorf("%d, signed in: %q", a.StatusCode, got)
					}
					return
				}
				if a.StatusCode != http.StatusBadRequest && a.StatusCode != http.StatusMethodNotAllowed {
					t.Errorf("status %d", a.StatusCode)
				}
				if failed := w.eventsOf(oidcgate.EventLoginFailed); len(failed) != 1 || failed[0].Reason != "wrong_response_mode" {
					t.Errorf("events %+v", failed)
				}
				w.tokenCalls(0)
				if got := w.subject(); got != "" {
					t.Errorf("signed in: %q", got)
				}
			})
		}
	}
}

func TestRelay(t *testing.T) {
	t.Run("C043 F16 a post of a stranger leaves nothing behind, and shows what it posted in a form only", func(t *testing.T) {
		tally := &tallyStore{Store: &store.Memory{}}
		w := newWorld(t, answering("code", "form_post"), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
		fields := url.Values{"state": {`"><script>alert(1)</script>`}, "code": {"x"}, "submit": {"y"}}
		a := w.send(w.newBrowser(), http.MethodPost, "/auth/callback", fields.Encode())
		if a.StatusCode != http.StatusOK || strings.Contains(a.body, "<script>alert") || strings.Contains(a.body, `"submit"`) {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		for name, want := range map[string]string{
			"Cache-Control": "no-store", "X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff",
		} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		policy := a.Header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") || strings.Contains(policy, "unsafe") {
			t.Errorf("the policy %q", policy)
		}
		if n := tally.writes.Load(); n != 0 || len(a.Cookies()) != 0 {
			t.Errorf("%d writes, cookies %v", n, a.Cookies())
		}
		action, again, _ := w.postedForm(a.body)
		w.denied(w.send(w.newBrowser(), http.MethodPost, action, again.Encode()), http.StatusBadRequest, oidcgate.ReasonUnknownState)
	})
	t.Run("C035 a post that is too long is refused", func(t *testing.T) {
		w := newWorld(t, answering("code", "form_post"))
		a := w.send(w.browser, http.MethodPost, "/auth/callback", "code="+strings.Repeat("c", 1<<20))
		w.denied(a, http.StatusBadRequest, "response_invalid")
	})
	for _, mode := range []string{"form_post", "fragment", "form_post.jwt"} {
		t.Run("C043 C055 behind a proxy that strips a path, "+mode+" posts to the callback and nowhere else", func(t *testing.T) {
			w := newWorld(t, answering("code", mode), func(c *oidcgate.Config, _ *oidcgate.Provider) { c.BaseURL = shopURL + "/outlet" })
			w.register(func(c *oidcgatetest.Client) {
				c.Secret, c.RedirectURLs = secret, []string{shopURL + "/outlet/auth/callback"}
			})
			w.handler = http.StripPrefix("/outlet", w.handler)
			a := w.get(w.authorization("/outlet/auth/login?return_to=/app").String())
			address, posted := a.location(), url.Values(nil)
			if address == "" {
				address, posted, _ = w.postedForm(a.body)
			}
			if a := w.arrive(address, posted); a.location() != shopURL+"/outlet/app" {
				t.Errorf("%d to %q", a.StatusCode, a.location())
			}
		})
	}
	t.Run("the page's button is gone when its script posts, so that no click breaks the post off", func(t *testing.T) {
		w := newWorld(t, answering("code", "form_post"))
		a := w.send(w.newBrowser(), http.MethodPost, "/auth/callback", "state=x&code=y")
		if i, j := strings.Index(a.body, ".remove()"), strings.Index(a.body, "submit.call"); i < 0 || j < i || !strings.Contains(a.body, "<button>") {
			t.Errorf("the page:\n%s", a.body)
		}
	})
	t.Run("C055 Page sees no code, however it came", func(t *testing.T) {
		for _, mode := range []string{"form_post", "fragment"} {
			var seen string
			w := newWorld(t, answering("code", mode), func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.Page = func(rw http.ResponseWriter, r *http.Request, p oidcgate.Page) bool {
					_ = r.ParseForm()
					seen = fmt.Sprintf("%v %v %v", r.URL, r.Form, r.PostForm)
					rw.WriteHeader(p.Status)
					return true
				}
			})
			w.send(w.browser, http.MethodPost, "/auth/callback", "oidcgate_relayed=1&state=x&code=hush-code&id_token=hush-token")
			if seen == "" || strings.Contains(seen, "hush") {
				t.Errorf("%s: it sees %s", mode, seen)
			}
		}
	})
	t.Run("C047 the response of one browser is of no use in another", func(t *testing.T) {
		for _, mode := range []string{"form_post", "fragment", "form_post.jwt"} {
			w := newWorld(t, answering("code", mode))
			address, posted := w.response("/app")
			w.browser = w.newBrowser()
			w.denied(w.arrive(address, posted), http.StatusBadRequest, oidcgate.ReasonUnknownState)
			w.tokenCalls(0)
		}
	})
	t.Run("C040 C047 without JavaScript the fragment's page says what to do, and offers no login in place of a linking", func(t *testing.T) {
		w := newWorld(t, answering("code", "fragment"))
		a := w.get("/auth/callback")
		if !strings.Contains(a.body, "<noscript>") {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		wantLinks(t, a, "Back to the site "+shopURL+"/")
	})
	t.Run("two logins in two tabs", func(t *testing.T) {
		w := newWorld(t, answering("code id_token", "form_post"))
		first, firstForm := w.response("/app?tab=1")
		second, secondForm := w.response("/app?tab=2")
		for i, a := range []answer{w.arrive(second, secondForm), w.arrive(first, firstForm)} {
			if want := shopURL + "/app?tab=" + []string{"2", "1"}[i]; a.location() != want {
				t.Errorf("%d to %q, want %q", a.StatusCode, a.location(), want)
			}
		}
	})
}

// What the provider signs for the browser to carry can be stolen, replaced and kept there.
func TestTokensThroughTheBrowser(t *testing.T) {
	drop := func(claim string) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { delete(t.Claims, claim) }
	}
	put := func(claim string, value any) func(*oidcgatetest.JWT) {
		return func(t *oidcgatetest.JWT) { t.Claims[claim] = value }
	}
	for _, row := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
		reason oidcgate.Reason
	}{
		{"C038 no c_hash", drop("c_hash"), "c_hash"},
		{"C038 the c_hash of another code", put("c_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "c_hash"},
		{"C038 a c_hash that is a number", put("c_hash", 1), "c_hash"},
		{"C038 the s_hash of another state", put("s_hash", "AAAAAAAAAAAAAAAAAAAAAA"), "s_hash"},
		{"C038 no nonce", drop("nonce"), "nonce"},
		{"C038 another nonce", put("nonce", "x"), "nonce"},
		{"C038 another issuer", put("iss", "https://evil.example"), "iss_claim"},
		{"C038 another audience", put("aud", "x"), "aud"},
		{"C038 no sub", drop("sub"), "sub"},
		{"C038 no iat", drop("iat"), "iat"},
		{"C038 an old one", put("exp", 1), "exp"},
		{"C038 no signature", (*oidcgatetest.JWT).Unsigned, "alg"},
		{"C038 a wrong signature", (*oidcgatetest.JWT).CorruptSignature, "sig"},
		{"C038 a forged signature", (*oidcgatetest.JWT).SignForeign, "sig"},
	} {
		for _, responseType := range []string{"code id_token", "id_token"} {
			if responseType == "id_token" && row.reason == "c_hash" {
				continue // there is no code
			}
			t.Run(row.name+" in "+responseType+": refused, and nothing is sent", func(t *testing.T) {
				w := newWorld(t, answering(responseType, "form_post"))
				w.op.NextIDToken(row.change)
				w.denied(w.arrive(w.response("/app")), http.StatusBadRequest, row.reason)
				w.tokenCalls(0)
			})
		}
	}
	t.Run("C039 the token endpoint names another user", func(t *testing.T) {
		w := newWorld(t, answering("code id_token", "form_post"))
		w.op.NextIDToken(func(*oidcgatetest.JWT) {})
		w.op.NextIDToken(put("sub", "mallory"))
		w.denied(w.arrive(w.response("/app")), http.StatusBadGateway, "sub")
	})
	t.Run("C038 an at_hash of an access token that is still to come, and the right s_hash", func(t *testing.T) {
		w := newWorld(t, answering("code id_token", "form_post"))
		w.op.NextIDToken(put("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"))
		if a := w.arrive(w.response("/app")); a.location() != shopURL+"/app" {
			t.Errorf("%d\n%s", a.StatusCode, w.logged())
		}
	})
	t.Run("C037 an access token beside an ID Token alone is not read", func(t *testing.T) {
		w := newWorld(t, answering("id_token", "form_post"))
		w.op.NextResponse(set("access_token", "x"))
		if a := w.arrive(w.response("/app")); a.location() != shopURL+"/app" {
			t.Errorf("%d\n%s", a.StatusCode, w.logged())
		}
		w.tokenCalls(0)
	})
	for _, row := range []struct {
		name, responseType string
		change             func(url.Values)
	}{
		{"C037 an ID Token in the code flow", "code", set("id_token", "e30.e30.e30")},
		{"C037 an access token in the code flow", "code", set("access_token", "x")},
		{"C037 an access token beside code and ID Token", "code id_token", set("access_token", "x")},
		{"C037 a response object that was not asked for", "code", set("response", "e30.e30.e30")},
		{"C037 a code in the implicit flow", "id_token", set("code", "x")},
		{"C038 no ID Token in the hybrid flow", "code id_token", without("id_token")},
		{"C038 no code in the hybrid flow", "code id_token", without("code")},
		{"C038 no ID Token in the implicit flow", "id_token", without("id_token")},
		{"C037 an error beside an ID Token", "id_token", set("error", "access_denied")},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, answering(row.responseType, "form_post"))
			w.op.NextResponse(row.change)
			w.denied(w.arrive(w.response("/app")), http.StatusBadRequest, "response_invalid")
			w.tokenCalls(0)
		})
	}
	t.Run("C031 another iss, in every mode", func(t *testing.T) {
		for _, mode := range []string{"query", "form_post", "fragment"} {
			w := newWorld(t, answering("code", mode))
			w.op.NextResponse(set("iss", "https://evil.example"))
			w.denied(w.arrive(w.response("/app")), http.StatusBadRequest, "iss_mismatch")
			w.tokenCalls(0)
		}
	})
	t.Run("C031 an ID Token says who issued it in place of iss; a code alone does not", func(t *testing.T) {
		for _, responseType := range []string{"code", "code id_token", "id_token"} {
			w := newWorld(t, answering(responseType, "form_post"))
			w.op.NextResponse(without("iss"))
			a := w.arrive(w.response("/app"))
			if responseType == "code" {
				w.denied(a, http.StatusBadRequest, "iss_missing")
			} else if a.location() != shopURL+"/app" {
				t.Errorf("%s: %d\n%s", responseType, a.StatusCode, w.logged())
			}
		}
	})
	for name, age := range map[string]time.Duration{"at once": 0, "after hours": 3 * time.Hour} {
		inBubble(t, "no access token: the application is told why, "+name, func(t *testing.T) {
			w := newWorld(t, answering("id_token", "form_post"), func(c *oidcgate.Config, _ *oidcgate.Provider) {
				c.IdleTimeout, c.SessionLifetime = 8*time.Hour, 8*time.Hour
			})
			w.arrive(w.response("/app"))
			time.Sleep(age)
			asked := w.op.Count(oidcgatetest.Token)
			var errs []error
			w.handler = w.gate.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				_, err := w.gate.Token(r.Context())
				_, notExchanged := w.gate.ExchangeToken(r.Context(), oidcgate.TokenExchange{Audience: "ledger"})
				errs = append(errs, err, notExchanged)
			}))
			w.get("/")
			for i, err := range errs {
				if err == nil || !strings.Contains(err.Error(), "\"id_token\"") || errors.Is(err, oidcgate.ErrProviderUnavailable) {
					t.Errorf("error %d: %v", i, err)
				}
			}
			if len(errs) != 2 || w.op.Count(oidcgatetest.Token) != asked {
				t.Errorf("%d errors, %d requests for tokens", len(errs), w.op.Count(oidcgatetest.Token)-asked)
			}
		})
	}
}

// TestJunkThroughTheBrowser is about tokens that name a key which the provider does not have: whoever
// sends them should not use up the loads of its keys.
func TestJunkThroughTheBrowser(t *testing.T) {
	for _, row := range []struct{ responseType, mode string }{
		{"code id_token", "form_post"}, {"id_token", "form_post"}, {"code", "form_post.jwt"}, {"code id_token", "form_post.jwt"},
	} {
		inBubble(t, "C010 C029 a response that answers no login of the browser loads no keys: "+row.responseType+" "+row.mode, func(t *testing.T) {
			w := newWorld(t, answering(row.responseType, row.mode))
			w.arrive(w.response("/app"))
			unknown := func(jwt *oidcgatetest.JWT) { jwt.Header["kid"] = "junk" }
			// junk returns a response with a token of an unknown key, which is in order otherwise.
			junk := func() (address string, posted url.Values) {
				if strings.Contains(row.mode, "jwt") {
					w.op.NextResponseObject(unknown)
				} else {
					w.op.NextIDToken(unknown)
				}
				return w.response("/app")
			}
			address, posted := junk()
			before := w.op.Count(oidcgatetest.JWKS)
			w.browser = w.newBrowser() // of a stranger, who has no login under way
			for range 20 {
				if a := w.arrive(address, posted); a.StatusCode != http.StatusBadRequest {
					t.Fatalf("status %d", a.StatusCode)
				}
			}
			if n := w.op.Count(oidcgatetest.JWKS) - before; n != 0 {
				t.Errorf("%d loads of the keys for strangers", n)
			}
			// With logins of their own they get what is left of the two loads for browsers.
			for range 10 {
				w.arrive(junk())
			}
			if n := w.op.Count(oidcgatetest.JWKS) - before; n != 1 {
				t.Errorf("%d loads of the keys for ten logins, want 1", n)
			}
			w.arrive(w.response("/app"))
			if got := w.subject(); got != "alice" {
				t.Errorf("signed in as %q after the junk", got)
			}
		})
	}
}

func TestSignedResponses(t *testing.T) {
	in := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	for _, row := range []struct {
		name   string
		change func(*oidcgatetest.JWT)
		status int
		reason oidcgate.Reason
	}{
		{"C041 no iss", func(t *oidcgatetest.JWT) { delete(t.Claims, "iss") }, 400, "iss_claim"},
		{"C041 another iss", func(t *oidcgatetest.JWT) { t.Claims["iss"] = "https://evil.example" }, 400, "iss_claim"},
		{"C041 no aud", func(t *oidcgatetest.JWT) { delete(t.Claims, "aud") }, 400, "aud"},
		{"C041 another aud", func(t *oidcgatetest.JWT) { t.Claims["aud"] = "another" }, 400, "aud"},
		{"C041 no exp", func(t *oidcgatetest.JWT) { delete(t.Claims, "exp") }, 400, "exp"},
		{"C041 expired", func(t *oidcgatetest.JWT) { t.Claims["exp"] = in(-10 * time.Minute) }, 400, "exp"},
		{"C042 good for an hour", func(t *oidcgatetest.JWT) { t.Claims["exp"] = in(time.Hour) }, 400, "exp"},
		{"C041 unsigned", (*oidcgatetest.JWT).Unsigned, 400, "alg"},
		{"C041 a wrong signature", (*oidcgatetest.JWT).CorruptSignature, 400, "sig"},
		{"C041 a forged signature", (*oidcgatetest.JWT).SignForeign, 400, "sig"},
		{"C042 an ID Token", func(t *oidcgatetest.JWT) { t.Claims["sub"] = "alice" }, 400, "typ"},
		{"C042 another type", func(t *oidcgatetest.JWT) { t.Header["typ"] = "at+jwt" }, 400, "typ"},
		{"C041 a code that is no string", func(t *oidcgatetest.JWT) { t.Claims["code"] = 7 }, 400, "response_invalid"},
		{"C037 neither a code nor an error", func(t *oidcgatetest.JWT) { delete(t.Claims, "code") }, 400, "response_invalid"},
		{"C037 a code and an error", func(t *oidcgatetest.JWT) { t.Claims["error"] = "access_denied" }, 400, "response_invalid"},
		{"C041 another state", func(t *oidcgatetest.JWT) { t.Claims["state"] = strings.Repeat("s", 43) }, 400, oidcgate.ReasonUnknownState},
		{"C041 no state", func(t *oidcgatetest.JWT) { delete(t.Claims, "state") }, 400, oidcgate.ReasonUnknownState},
	} {
		t.Run(row.name+": refused, and the code is not sent", func(t *testing.T) {
			w := newWorld(t, answering("code", "query.jwt"))
			w.op.NextResponseObject(row.change)
			w.denied(w.arrive(w.response("/app")), row.status, row.reason)
			w.tokenCalls(0)
		})
	}
	for _, typ := range []string{"JWT", "oauth-authz-resp+jwt", ""} {
		t.Run("C042 the type "+typ+" is one of a response", func(t *testing.T) {
			w := newWorld(t, answering("code", "query.jwt"))
			w.op.NextResponseObject(func(t *oidcgatetest.JWT) {
				if t.Header["typ"] = typ; typ == "" {
					delete(t.Header, "typ")
				}
			})
			if a := w.arrive(w.response("/app")); a.location() != shopURL+"/app" {
				t.Errorf("%d\n%s", a.StatusCode, w.logged())
			}
		})
	}
	for _, beside := range []string{"code", "state", "iss", "error", "id_token", "access_token"} {
		t.Run("C041 "+beside+" beside the signed object", func(t *testing.T) {
			w := newWorld(t, answering("code", "query.jwt"))
			w.op.NextResponse(set(beside, "x"))
			w.denied(w.arrive(w.response("/app")), http.StatusBadRequest, "response_invalid")
			w.tokenCalls(0)
		})
	}
	t.Run("C041 an unsigned response where a signed one was agreed", func(t *testing.T) {
		w := newWorld(t, answering("code", "query.jwt"))
		w.op.NextResponse(func(v url.Values) { clear(v); v.Set("state", "x"); v.Set("code", "y") })
		w.denied(w.arrive(w.response("/app")), http.StatusBadRequest, "response_invalid")
	})
	t.Run("F05 keys that cannot be had lose no login", func(t *testing.T) {
		w := newWorld(t, answering("code", "query.jwt"))
		address, posted := w.response("/app")
		w.op.Inject(oidcgatetest.JWKS, oidcgatetest.Answer(http.StatusServiceUnavailable, "text/plain", ""))
		if a := w.arrive(address, posted); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("%d\n%s", a.StatusCode, a.body)
		}
		w.tokenCalls(0)
	})
}

// Some providers write iss twice into a signed response.
func TestSignedResponseWithARepeatedMember(t *testing.T) {
	for value, status := range map[string]int{`"https://id.test"`: http.StatusSeeOther, `"https://evil.example"`: http.StatusBadRequest} {
		t.Run("C033 C041 iss and iss "+value, func(t *testing.T) {
			w := newWorld(t, answering("code", "query.jwt"))
			w.op.NextResponseObject(func(j *oidcgatetest.JWT) {
				text, err := json.Marshal(j.Claims)
				if err != nil {
					t.Fatal(err)
				}
				j.Payload = append(text[:len(text)-1:len(text)-1], `,"iss":`+value+`}`...)
			})
			if a := w.arrive(w.response("/app")); a.StatusCode != status {
				t.Errorf("%d\n%s", a.StatusCode, w.logged())
			}
		})
	}
}
