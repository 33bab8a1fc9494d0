package oidcgate_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// speaks fails the test unless a page is in a language, with this title.
func (a answer) speaks(t *testing.T, language, title string) {
	t.Helper()
	if got := a.Header.Get("Content-Language"); got != language {
		t.Errorf("Content-Language %q, want %q", got, language)
	}
	for _, want := range []string{`<html lang="` + language + `"`, "<title>" + title + "</title>", "<h1>" + title + "</h1>"} {
		if !strings.Contains(a.body, want) {
			t.Errorf("the page has no %s\n%s", want, a.body)
		}
	}
}

func TestPolicyOfTheSite(t *testing.T) {
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Page = func(rw http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
			rw.WriteHeader(p.Status)
			return true
		}
	})
	gate := w.handler
	w.handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Security-Policy", "default-src 'self'; form-action 'self'")
		gate.ServeHTTP(rw, r)
	})
	t.Run("gives way on pages of Config.Page, whose forms may lead to a provider", func(t *testing.T) {
		got := w.get("/auth/logout/done").Header["Content-Security-Policy"]
		if want := []string{"frame-ancestors 'none'"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestLanguageOfPages(t *testing.T) {
	const done = "/auth/logout/done"
	w := newWorld(t)
	for _, row := range []struct{ accept, language, title string }{
		{"", "en", "Signed out"},
		{"de", "de", "Abgemeldet"},
		{"de-AT, en;q=0.5", "de", "Abgemeldet"},
		{"fr-CH, fr;q=0.9, en;q=0.8, de;q=0.7, *;q=0.5", "fr", "Déconnexion réussie"},
		{"en;q=0.1, fr;q=0.9", "fr", "Déconnexion réussie"},
		{"gsw", "de", "Abgemeldet"}, // who reads Swiss German reads German
		{"ja", "en", "Signed out"},
		{"*", "en", "Signed out"},
		{"ja, de;q=0", "en", "Signed out"},
		{`"><script>`, "en", "Signed out"},
		{strings.Repeat("x-", 3000), "en", "Signed out"},
		{strings.Repeat("de,", 100) + "de", "de", "Abgemeldet"},
		{strings.Repeat("de,", 10_000) + "de", "en", "Signed out"}, // no browser sends that
	} {
		t.Run("Accept-Language "+row.accept[:min(len(row.accept), 30)], func(t *testing.T) {
			a := w.get(done, "Accept-Language: "+row.accept)
			a.speaks(t, row.language, row.title)
			if got := a.Header.Get("Vary"); got != "Accept-Language" {
				t.Errorf("Vary %q", got)
			}
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Accept-Language", row.accept)
			if got := w.gate.PageLanguage(r); got != row.language {
				t.Errorf("PageLanguage %q, want %q", got, row.language)
			}
		})
	}

	t.Run("the application chooses, and where it does not, Accept-Language does", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Pages.Language = func(r *http.Request) string { return r.URL.Query().Get("lang") }
		})
		a := w.get(done+"?lang=fr-BE", "Accept-Language: de")
		a.speaks(t, "fr", "Déconnexion réussie")
		if vary := a.Header.Values("Vary"); len(vary) > 0 {
			t.Errorf("Vary %q, but the header did not count", vary)
		}
		for _, wanted := range []string{"", "ja", "no language"} {
			w.get(done+"?lang="+strings.ReplaceAll(wanted, " ", "+"), "Accept-Language: de").speaks(t, "de", "Abgemeldet")
		}
		if got := w.gate.PageLanguage(httptest.NewRequest(http.MethodGet, "/?lang=fr-BE", nil)); got != "fr" {
			t.Errorf("PageLanguage %q", got)
		}
	})

	t.Run("a request that gets no page asks for no language", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.Pages.Language = func(*http.Request) string { panic("it was asked") }
		})
		w.login()
		if a := w.get("/app", "Accept-Language: de"); a.StatusCode != http.StatusOK || slices.Contains(a.Header.Values("Vary"), "Accept-Language") {
			t.Errorf("status %d, Vary %q", a.StatusCode, a.Header.Values("Vary"))
		}
	})
}

// TestPagesInGerman shows pages of every kind, and holds that none has a word of English.
func TestPagesInGerman(t *testing.T) {
	w := newWorld(t)
	const german = "Accept-Language: de"
	gone := w.get("/auth/callback?code=a&state=b", german)
	gone.speaks(t, "de", "Anmeldung nicht gefunden")
	if !strings.Contains(gone.body, "Referenz: ") || !strings.Contains(gone.body, "Noch einmal anmelden") {
		t.Errorf("a refused login:\n%s", gone.body)
	}
	w.get("/auth/login", german, "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: iframe").speaks(t, "de", "Bitte in einem Tab öffnen")
	w.send(w.browser, http.MethodPut, "/auth/logout", "", german).speaks(t, "de", "Falsche Methode")
	w.send(w.browser, http.MethodPost, "/app", "a=b", german, "Origin: "+shopURL).speaks(t, "de", "Nicht gesendet")
	w.login()
	w.get("/admin", german).speaks(t, "de", "Kein Zugang")
	w.get("/auth/logout", german).speaks(t, "de", "Abmelden?")
	w.send(w.browser, http.MethodPost, "/auth/logout", "a=b", german, "Origin: https://evil.test", "Sec-Fetch-Site: cross-site").
		speaks(t, "de", "Nicht von dieser Website")

	t.Run("the page on which a visitor chooses", func(t *testing.T) {
		w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
			c.HomeRealm = func(string) (string, bool) { return "", false }
		})
		second := oidcgate.Provider{Name: "b", Label: "Bakery ID", Issuer: "https://b.test", ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		first := oidcgate.Provider{Issuer: w.op.Issuer(), ClientID: "shop", Auth: oidcgate.ClientSecretBasic(secret)}
		w.open(first, second)
		a := w.get("/auth/login", german)
		a.speaks(t, "de", "Anmelden")
		for _, want := range []string{"E-Mail-Adresse", "Weiter", "Bakery ID"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("no %s:\n%s", want, a.body)
			}
		}
	})
	t.Run("the page that posts a response", func(t *testing.T) {
		w := newWorld(t, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Request.ResponseMode = "fragment" })
		a := w.get("/auth/callback", german)
		a.speaks(t, "de", "Einen Moment")
		for _, want := range []string{"ohne JavaScript", "Zurück zur Website"} {
			if !strings.Contains(a.body, want) {
				t.Errorf("no %s:\n%s", want, a.body)
			}
		}
	})
	t.Run("a problem for a script", func(t *testing.T) {
		w := newWorld(t)
		a := w.get("/app", german, "Sec-Fetch-Mode: cors", "Accept: application/json")
		var problem struct{ Title, Detail string }
		if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Title != "Anmeldung nötig" || problem.Detail != "Sie sind nicht angemeldet." {
			t.Errorf("got %+v, %v", problem, err)
		}
		if got := a.Header.Get("Content-Language"); got != "de" {
			t.Errorf("Content-Language %q", got)
		}
	})
}

func TestTextsOfTheApplication(t *testing.T) {
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Pages.Words = map[string]map[string]string{
			"en":    {"signed_out.text": "See you <soon>."},
			"it":    {"signed_out.title": "Disconnesso", "failed_unknown.title": "Accesso non trovato", "reference": "Riferimento {reference}"},
			"de-CH": {"signed_out.title": "Adieu"},
		}
	})
	const done = "/auth/logout/done"
	a := w.get(done)
	a.speaks(t, "en", "Signed out")
	if !strings.Contains(a.body, "See you &lt;soon&gt;.") {
		t.Errorf("the text of the application is not there, or not escaped:\n%s", a.body)
	}
	a = w.get(done, "Accept-Language: it-IT")
	a.speaks(t, "it", "Disconnesso")
	if !strings.Contains(a.body, "See you") { // what a language lacks is in English
		t.Errorf("got\n%s", a.body)
	}
	if a = w.get("/auth/callback?code=a&state=b", "Accept-Language: it"); !strings.Contains(a.body, "Riferimento ") || strings.Contains(a.body, "{reference}") {
		t.Errorf("got\n%s", a.body)
	}
	swiss := httptest.NewRequest(http.MethodGet, "/", nil)
	swiss.Header.Set("Accept-Language", "de-CH")
	if got := w.gate.PageLanguage(swiss); got != "de-CH" {
		t.Errorf("PageLanguage %q", got)
	}
	a = w.get(done, "Accept-Language: de-CH")
	a.speaks(t, "de-CH", "Adieu")
	if !strings.Contains(a.body, "Sie sind auf dieser Website abgemeldet.") { // what de-CH lacks is in de
		t.Errorf("got\n%s", a.body)
	}
	w.get(done, "Accept-Language: de-AT").speaks(t, "de", "Abgemeldet")
	log := w.logged()
	if !strings.Contains(log, `"language":"it","texts":"another_account, back,`) || strings.Contains(log, `"language":"de-CH"`) {
		t.Errorf("the log does not name the texts that it lacks, or names those that de has:\n%s", log)
	}
}

func TestLooksOfPages(t *testing.T) {
	const image = "data:image/png;base64,iVBORw0KGgo="
	for _, row := range []struct {
		name   string
		pages  oidcgate.PageOptions
		has    []string
		policy string // that of images
	}{
		{"nothing is chosen", oidcgate.PageOptions{}, []string{"<title>Signed out</title>", "<main><h1>"}, ""},
		{"a name", oidcgate.PageOptions{Name: "Tea & <more>"},
			[]string{"<title>Signed out · Tea &amp; &lt;more&gt;</title>", `<p class="name">Tea &amp; &lt;more&gt;</p>`}, ""},
		{"a logo of the site", oidcgate.PageOptions{Name: "Teahouse", Logo: "/static/logo.svg"},
			[]string{`<img src="https://shop.test/static/logo.svg" alt="Teahouse">`}, "img-src https://shop.test/static/logo.svg;"},
		{"a logo in the page", oidcgate.PageOptions{Logo: image}, []string{`<img src="` + image + `" alt="">`}, "img-src data:;"},
		{"an accent", oidcgate.PageOptions{Accent: "#ffcc00"},
			[]string{":root{--accent:#ffcc00;--on-accent:#000000;", "(prefers-color-scheme:dark){:root{--accent:#ffcc00;"}, ""},
		{"an accent for dark alone", oidcgate.PageOptions{AccentDark: "#99bbff"},
			[]string{":root{--accent:#1d4ed8;--on-accent:#ffffff;", "(prefers-color-scheme:dark){:root{--accent:#99bbff;--on-accent:#000000;"}, ""},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorld(t, func(c *oidcgate.Config, p *oidcgate.Provider) {
				c.Pages, p.Request.ResponseMode = row.pages, "fragment"
			})
			for _, path := range []string{"/auth/logout/done", "/auth/callback"} { // the second is the page that posts
				a := w.get(path)
				policy := a.Header.Get("Content-Security-Policy") + ";"
				for _, want := range row.has {
					if path == "/auth/callback" {
						want = strings.ReplaceAll(want, "Signed out", "One moment")
					}
					if !strings.Contains(a.body, want) {
						t.Errorf("%s: no %s in\n%s", path, want, a.body)
					}
				}
				if row.policy == "" && strings.Contains(policy, "img-src") || !strings.Contains(policy, row.policy) {
					t.Errorf("%s: policy %s, want %q in it", path, policy, row.policy)
				}
				if !strings.HasPrefix(policy, "default-src 'none'; style-src 'sha256-") {
					t.Errorf("%s: policy %s", path, policy)
				}
			}
		})
	}
}

func TestFaultsOfPageOptions(t *testing.T) {
	words := func(language, key, text string) oidcgate.PageOptions {
		return oidcgate.PageOptions{Words: map[string]map[string]string{language: {key: text}}}
	}
	for _, row := range []struct {
		name  string
		pages oidcgate.PageOptions
		field string
		says  string
	}{
		{"a colour with more behind it", oidcgate.PageOptions{Accent: "#1d4ed8;}body{display:none"}, "Accent", `"#1d4ed8"`},
		{"a name of a colour", oidcgate.PageOptions{Accent: "blue"}, "Accent", "six hexadecimal digits"},
		{"a short colour", oidcgate.PageOptions{AccentDark: "#fff"}, "AccentDark", "six hexadecimal digits"},
		{"a style that ends", oidcgate.PageOptions{Accent: "</style>"}, "Accent", "is no colour"},
		{"C044 a logo of another site", oidcgate.PageOptions{Logo: "https://cdn.test/logo.svg"}, "Logo", `"/logo.svg"`},
		{"a logo of another host without a scheme", oidcgate.PageOptions{Logo: "//cdn.test/logo.svg"}, "Logo", `"/logo.svg"`},
		{"a logo that ends the policy", oidcgate.PageOptions{Logo: "/logo;script-src *"}, "Logo", `"/logo.svg"`},
		{"a logo that is a script", oidcgate.PageOptions{Logo: "javascript:alert(1)"}, "Logo", "data:image/png"},
		{"a logo that is a page", oidcgate.PageOptions{Logo: "data:text/html;base64,aGk="}, "Logo", "data:image/png"},
		{"a logo that is a directory", oidcgate.PageOptions{Logo: "/"}, "Logo", `"/logo.svg"`},
		{"a large logo", oidcgate.PageOptions{Logo: "data:image/png;base64," + strings.Repeat("A", 33<<10)}, "Logo", "at most 32768"},
		{"a long name", oidcgate.PageOptions{Name: strings.Repeat("a", 101)}, "Name", "101 characters"},
		{"a name in two lines", oidcgate.PageOptions{Name: "a\nb"}, "Name", "cannot be shown"},
		{"a language that is none", words("german!", "back", "Heim"), "Words", `"pt-BR"`},
		{"a text that no page has", words("de", "sign_out.title", "Weg"), "Words", "docs/words.md"},
		{"an empty text", words("de", "back", " "), "Words", "leave it out"},
		{"a text without its placeholder", words("de", "reference", "Referenz"), "Words", `"{reference}"`},
		{"a text with a placeholder that nobody fills", words("it", "back", "Torna a {name}"), "Words", "placeholders"},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, p := goodConfig(t)
			c.Pages = row.pages
			_, err := oidcgate.New(c, p)
			want := "oidcgate: Pages." + row.field + ": "
			if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), row.says) {
				t.Errorf("got %v, want %s and %s", err, want, row.says)
			}
			if err != nil && strings.Contains(err.Error(), "\n") {
				t.Errorf("one fault is reported as several:\n%v", err)
			}
		})
	}
}

func TestPageOfTheApplicationKnowsTheLanguage(t *testing.T) {
	var got oidcgate.Page
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) {
		c.Page = func(rw http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
			got = p
			rw.WriteHeader(p.Status)
			_, _ = io.WriteString(rw, p.Title)
			return true
		}
	})
	a := w.get("/auth/logout", "Accept-Language: fr")
	want := "Déconnexion réussie"
	if got.Language != "fr" || got.Title != want || len(got.Links) != 1 || got.Links[0].Text != "Continuer" || a.body != want {
		t.Errorf("got %+v and %q", got, a.body)
	}
	if vary := a.Header.Values("Vary"); !slices.Contains(vary, "Accept-Language") || a.Header.Get("Content-Language") != "" {
		t.Errorf("Vary %q; Content-Language %q is for the application to say", vary, a.Header.Get("Content-Language"))
	}
}

// TestWhatARefusedLoginOffers holds that the first button of a page does what its text says.
func TestWhatARefusedLoginOffers(t *testing.T) {
	const again, another, back = "Log in again", "Use another account", "Back to the site"
	for name, row := range map[string]struct {
		breaks func(w *world)
		want   []string
	}{
		"a visitor who cancels may have meant it, or not": {func(w *world) { w.op.SetNobody() }, []string{again, another, back}},
		"C128 a logout meanwhile says nothing against the account": {func(w *world) {
			w.op.Inject(oidcgatetest.Token, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					next.ServeHTTP(rw, r)
					if _, err := w.gate.Sessions().EndUser(context.Background(), w.op.Issuer(), "alice"); err != nil {
						w.Error(err)
					}
				})
			})
		}, []string{again, back}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			row.breaks(w)
			a := w.get(w.callbackURL("/app"))
			var got []string
			for _, link := range regexp.MustCompile(`<a [^>]*>([^<]*)</a>`).FindAllStringSubmatch(a.body, -1) {
				got = append(got, link[1])
			}
			if a.StatusCode != http.StatusForbidden || !slices.Equal(got, row.want) {
				t.Errorf("%d offers %q, want %q", a.StatusCode, got, row.want)
			}
		})
	}
}

// TestPageOfAServiceThatIsSetUpWrongly holds that a visitor is told that the fault is the site's, and
// no more.
func TestPageOfAServiceThatIsSetUpWrongly(t *testing.T) {
	secretIs := func(wrong string) func(*oidcgate.Config, *oidcgate.Provider) {
		return func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = oidcgate.ClientSecretBasic(wrong) }
	}
	answers := func(status int, code string) func(w *world) {
		return func(w *world) {
			w.op.Inject(oidcgatetest.Token, oidcgatetest.Answer(status, "application/json", `{"error":"`+code+`"}`))
		}
	}
	const site, answer, failed, down = "is not set up correctly on this site", "gave an answer that we cannot accept",
		"could not be completed. Please log in again", "does not answer. Try again shortly"
	for _, row := range []struct {
		name   string
		op     oidcgatetest.Config
		config func(*oidcgate.Config, *oidcgate.Provider)
		breaks func(w *world)
		reason string
		want   string
	}{
		{"a wrong secret", oidcgatetest.Config{}, secretIs("wrong"), nil, "token_endpoint_error", site},
		{"a wrong secret, before the login", oidcgatetest.Config{PushedRequests: true}, secretIs("wrong"), nil, "par_error", site},
		{"a refusal that says nothing", oidcgatetest.Config{}, nil, answers(401, ""), "token_endpoint_error", site},
		{"a code of the provider's own", oidcgatetest.Config{}, nil, answers(400, "incorrect_client_credentials"), "token_endpoint_error", site},
		{"a client id that the tokens are not for", oidcgatetest.Config{}, nil, func(w *world) {
			w.op.NextIDToken(func(j *oidcgatetest.JWT) { j.Claims["aud"] = "another" })
		}, "aud", site},
		{"the code is over", oidcgatetest.Config{}, nil, answers(400, "invalid_grant"), "token_endpoint_error", failed},
		{"the user cancels late", oidcgatetest.Config{}, nil, answers(400, "access_denied"), "token_endpoint_error", "The login was cancelled"},
		{"the provider is in trouble", oidcgatetest.Config{}, nil, answers(500, "invalid_client"), "token_endpoint_error", down},
		{"the provider's own fault", oidcgatetest.Config{}, nil, func(w *world) {
			w.op.Inject(oidcgatetest.Token, oidcgatetest.Answer(200, "application/json", "[]"))
		}, "token_response_invalid", answer},
	} {
		t.Run(row.name, func(t *testing.T) {
			w := newWorldOf(t, oidcgatetest.NewProvider(t, row.op), func(c *oidcgate.Config, p *oidcgate.Provider) {
				if row.config != nil {
					row.config(c, p)
				}
			})
			if row.breaks != nil {
				row.breaks(w)
			}
			a := w.get("/auth/login")
			if a.StatusCode == http.StatusSeeOther {
				a = w.get(w.get(a.location()).location())
			}
			if !strings.Contains(a.body, row.want) || !strings.Contains(a.body, row.reason) {
				t.Errorf("%d, want %q and %q in\n%s", a.StatusCode, row.want, row.reason, a.body)
			}
			backFirst := strings.Index(a.body, "Back to the site") < strings.Index(a.body, "Log in again")
			if strings.Contains(a.body, "secret") || backFirst != (row.want == site) {
				t.Errorf("it tells too much, or offers the wrong thing first:\n%s", a.body)
			}
		})
	}
}

// TestAccountOfAnotherOrganization shows what a visitor sees who logged in with an account that may
// not: a plain new login would bring the same account at once.
func TestAccountOfAnotherOrganization(t *testing.T) {
	op := oidcgatetest.NewProvider(t)
	w := newWorldOf(t, op, func(_ *oidcgate.Config, p *oidcgate.Provider) {
		p.Verification.RequireClaims = map[string][]string{"hd": {"shop.test"}}
	})
	a := w.get(w.callbackURL("/app"))
	a.speaks(t, "en", "No access")
	if !strings.Contains(a.body, "Use another account") || strings.Contains(a.body, "Log in again") {
		t.Errorf("got\n%s", a.body)
	}
}
