// Package browser_test tests what only a real browser does: it stores and sends cookies by its own
// rules, follows redirects between sites, has a back button, shows frames, and enforces a
// Content-Security-Policy.
package browser_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate/internal/redistest"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

func TestInChromium(t *testing.T) {
	sites := startSites(t)
	chromium := startChromium(t, sites.flags()...)
	shared := redisstore.NewWith(redistest.Start(t).Client(heedContexts), redisstore.Config{Timeout: patience})
	stores := []struct {
		name string
		make func() store.Store
	}{
		{"sessions in memory", func() store.Store { return new(store.Memory) }},
		{"sessions in Redis", func() store.Store { return shared }},
	}
	for _, s := range stores {
		t.Run(s.name, func(t *testing.T) {
			for _, story := range stories {
				t.Run(story.name, func(t *testing.T) {
					story.tell(&scene{T: t, chromium: chromium, sites: sites, op: openShop(t, sites, s.make())})
				})
			}
		})
	}
	t.Run("the demo on plain http", func(t *testing.T) { tourDemo(t, chromium) })
	t.Run("C110 the example of a page with script logs in, and has no token", func(t *testing.T) { tourSPA(t, chromium) })
}

func heedContexts(o *redis.Options) { o.ContextTimeoutEnabled = true }

// stories are the tests. Each has its own shop and provider.
var stories = []struct {
	name string
	tell func(*scene)
}{
	{"C044 a login ends at the page that was asked for, and no address on the way stays", loginStory},
	{"C104 the cookies are what browsers protect best", cookieStory},
	{"C104 no script of the site sets or replaces a cookie of the gate", plantStory},
	{"C022 F29 two tabs begun together finish in the order they were begun", func(s *scene) { tabsStory(s, false) }},
	{"C022 F29 two tabs begun together finish in the other order", func(s *scene) { tabsStory(s, true) }},
	{"C045 the back button after a login leads to the site and keeps the session", backStory},
	{"C045 the callback's address opened again keeps the session and redeems nothing", callbackStory},
	{"a cancelled login says so, and can be begun again", cancelStory},
	{"C116 a form of the site logs out here and at the provider", logoutStory},
	{"C116 an address that logs out asks first, and its form may lead to the provider", confirmStory},
	{"C116 a provider whose logout passes another origin ends both sessions", secondOriginStory},
	{"C116 an image on another site logs nobody out", func(s *scene) { evilLogoutStory(s, "image") }},
	{"C116 a form on another site logs nobody out", func(s *scene) { evilLogoutStory(s, "form") }},
	{"after a logout the back button does not show the account", backAfterLogoutStory},
	{"a guarded page linked from another site finds the visitor signed in", linkStory},
	{"a stranger who follows another site's link to a guarded page logs in and sees it", strangersLinkStory},
	{"C028 a link to the login on another site does not replace the session", loginLinkStory},
	{"no frame of another site shows the login or the logout", frameStory},
	{"C110 an image, a frame and a script of the site begin no login", embedsStory},
	{"C110 a script without a session gets 401 and the login's address", fetchStory},
	{"C110 a form posted without a session was not sent, and the page says so", notSentStory},
	{"an error page has its style, and the console has nothing to say", errorPageStory},
}

// scene is the environment of a story.
type scene struct {
	*testing.T
	chromium context.Context
	sites    *sites
	op       *oidcgatetest.Provider
}

// visitor opens a browser without a session. At the end of the test its console must be empty.
func (s *scene) visitor() *tab {
	s.Helper()
	v := newVisitor(s.T, s.chromium)
	s.Cleanup(v.wantNoProblems)
	return v
}

// customer is a visitor who has logged in as Alice and opened the account page.
func (s *scene) customer() *tab {
	s.Helper()
	v := s.visitor()
	v.open(shopURL + "/account")
	v.click("#alice")
	v.wantText("#who", "Alice Example")
	return v
}

// wantCalls fails the test unless an endpoint of the provider was called the given number of times.
func (s *scene) wantCalls(endpoint oidcgatetest.Endpoint, want int) {
	s.Helper()
	if got := s.op.Count(endpoint); got != want {
		s.Errorf("calls of the %s endpoint: got %d, want %d", endpoint, got, want)
	}
}

// wantSignedIn loads a page and fails the test unless it names that user.
func (v *tab) wantSignedIn(name string) {
	v.Helper()
	v.open(shopURL + "/account")
	v.wantAt(shopURL + "/account")
	v.wantText("#who", name)
}

func loginStory(s *scene) {
	v := s.visitor()
	v.open(shopURL + "/account?order=7&from=mail")
	if got := v.address(); !strings.HasPrefix(got, idURL+"/authorize?") {
		s.Fatalf("address: got %s, want the provider's login page", got)
	}
	response := v.click("#alice")
	v.wantAt(shopURL + "/account?order=7&from=mail")
	v.wantText("#who", "Alice Example")
	if response.Status != 200 {
		s.Errorf("status: got %d, want 200", response.Status)
	}
	for _, address := range append(v.history(), evaluate[string](v, "document.referrer")) {
		if strings.Contains(address, "code=") {
			s.Errorf("the code stayed in %s", address)
		}
	}
	s.wantCalls(oidcgatetest.Token, 1)
	v.reload()
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, 1)
}

func cookieStory(s *scene) {
	v := s.visitor()
	v.open(shopURL + "/")
	if got := v.cookieNames(shopURL); got != nil {
		s.Errorf("cookies of somebody who has only looked: got %q, want none", got)
	}
	v.click("#account")
	attempt := v.onlyCookie("during a login")
	if !strings.HasPrefix(attempt.Name, "__Host-Http-oidcgate-a-") || attempt.Session {
		s.Errorf("during a login: got cookie %q, session %v; want __Host-Http-oidcgate-a-*, which expires", attempt.Name, attempt.Session)
	}
	wantProtected(s.T, attempt)
	v.click("#alice")
	session := v.onlyCookie("after it")
	if session.Name != "__Host-Http-oidcgate" || !session.Session {
		s.Errorf("after a login: got cookie %q, session %v; want __Host-Http-oidcgate, which ends with the browser", session.Name, session.Session)
	}
	wantProtected(s.T, session)
	if got := evaluate[string](v, "document.cookie"); got != "" {
		s.Errorf("document.cookie: got %q, want nothing", got)
	}
	if got := append(v.cookieNames(idURL), v.cookieNames(evilURL)...); got != nil {
		s.Errorf("cookies of other sites: got %q, want none", got)
	}
}

// plantStory has a script of the shop that plants session cookies. The browser takes one of the
// older name, which opens no session of today, and none with the prefix "__Host-Http-". It stores
// what scripts set in order, and a moment later.
func plantStory(s *scene) {
	mallory := s.customer()
	id := mallory.onlyCookie("of somebody else").Value
	v := s.visitor()
	v.open(shopURL + "/")
	for _, value := range []string{id, strings.TrimSuffix(id, ".")} {
		for _, name := range []string{"__Host-Http-oidcgate", "__Host-oidcgate"} {
			evaluate[string](v, "document.cookie = \""+name+"="+value+"; Secure; Path=/\"")
		}
		v.wantCookie("__Host-oidcgate", value)
		if got := v.cookieNames(shopURL); len(got) != 1 {
			s.Errorf("cookies that a script has set: got %q, want the one of the older name", got)
		}
		v.open(shopURL + "/")
		v.wantText("#who", "nobody")
	}
	mallory.wantSignedIn("Alice Example")
}

// wantCookie waits until the shop's cookie has that value; the tab's patience ends the wait.
func (v *tab) wantCookie(name, value string) {
	v.Helper()
	isIt := func(c *network.Cookie) bool { return c.Name == name && c.Value == value }
	for !slices.ContainsFunc(v.cookies(shopURL), isIt) {
		time.Sleep(10 * time.Millisecond)
	}
}

// onlyCookie returns the one cookie that the shop has set, beside the one that counts logins for a
// minute.
func (v *tab) onlyCookie(when string) *network.Cookie {
	v.Helper()
	cookies := slices.DeleteFunc(v.cookies(shopURL), func(c *network.Cookie) bool {
		if c.Name != "__Host-Http-oidcgate-rounds" {
			return false
		}
		wantProtected(v.T, c)
		return !c.Session
	})
	if len(cookies) != 1 {
		v.Fatalf("cookies %s: got %q, want one", when, v.cookieNames(shopURL))
	}
	return cookies[0]
}

// wantProtected compares a cookie with the attributes of rule C104. The browser checks "__Host-"
// itself: it rejects a cookie of such a name that has a Domain or another path, or came without
// TLS.
func wantProtected(t *testing.T, c *network.Cookie) {
	t.Helper()
	type protection struct {
		prefix, secure, httpOnly bool
		sameSite                 network.CookieSameSite
		path, domain             string
	}
	got := protection{strings.HasPrefix(c.Name, "__Host-"), c.Secure, c.HTTPOnly, c.SameSite, c.Path, c.Domain}
	want := protection{true, true, true, network.CookieSameSiteLax, "/", "shop.test"}
	if got != want {
		t.Errorf("cookie %s: got %+v, want %+v", c.Name, got, want)
	}
}

func tabsStory(s *scene, reverse bool) {
	first := s.visitor()
	second := first.anotherTab()
	first.open(shopURL + "/account")
	second.open(shopURL + "/orders")
	finish := []struct {
		tab  *tab
		page string
	}{{first, "/account"}, {second, "/orders"}}
	if reverse {
		slices.Reverse(finish)
	}
	for _, f := range finish {
		f.tab.click("#alice")
		f.tab.wantAt(shopURL + f.page)
		f.tab.wantText("#who", "Alice Example")
	}
	for _, f := range finish {
		f.tab.reload()
		f.tab.wantAt(shopURL + f.page)
		f.tab.wantText("#who", "Alice Example")
	}
	first.onlyCookie("after both logins")
	second.wantNoProblems()
}

func backStory(s *scene) {
	v := s.customer()
	v.back()
	v.wantText("h1", "Who are you?")
	v.click("#alice") // for the login that has already finished
	v.wantAt(shopURL + "/")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, 1)
}

func callbackStory(s *scene) {
	v := s.customer()
	visited := v.documents()
	i := slices.IndexFunc(visited, func(u string) bool { return strings.HasPrefix(u, shopURL+"/auth/callback?") })
	if i < 0 {
		s.Fatalf("no callback among %q", visited)
	}
	v.open(visited[i])
	v.wantAt(shopURL + "/")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, 1)
}

func cancelStory(s *scene) {
	v := s.visitor()
	v.open(shopURL + "/account")
	if response := v.click("#nobody"); response.Status != 403 {
		s.Errorf("status: got %d, want 403", response.Status)
	}
	v.wantText("h1", "Login cancelled")
	v.wantStyle()
	v.click("main a") // log in again
	v.click("#bob")
	v.wantAt(shopURL + "/account")
	v.wantText("#who", "Bob Example")
}

func logoutStory(s *scene) {
	v := s.customer()
	v.click("#logout")
	v.wantSignedOut(s)
}

func confirmStory(s *scene) {
	v := s.customer()
	v.open(shopURL + "/auth/logout")
	v.wantText("h1", "Log out?")
	v.wantStyle()
	s.wantCalls(oidcgatetest.EndSession, 0)
	v.wantSignedIn("Alice Example")
	v.open(shopURL + "/auth/logout")
	v.click("main button")
	v.wantSignedOut(s)
}

// secondOriginStory has a provider that sends the browser to another of its hosts and back during
// its logout. Browsers apply the policy of the page with the form to every address on the way.
func secondOriginStory(s *scene) {
	s.sites.id.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/logout" && r.URL.Query().Get("passed") == "" {
			http.Redirect(w, r, evilURL+"/sso-logout?"+r.URL.RawQuery, http.StatusFound)
			return
		}
		s.op.ServeHTTP(w, r)
	}))
	s.sites.evil.serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, idURL+"/logout?passed=1&"+r.URL.RawQuery, http.StatusFound)
	}))
	v := s.customer()
	v.open(shopURL + "/auth/logout")
	v.click("main button")
	v.wantSignedOut(s)
}

// wantSignedOut fails the test unless the tab has returned from the provider's logout and has no
// session cookie.
func (v *tab) wantSignedOut(s *scene) {
	v.Helper()
	if got := v.address(); !strings.HasPrefix(got, shopURL+"/auth/logout/done?") {
		v.Fatalf("address after the logout: got %s", got)
	}
	v.wantText("h1", "Signed out")
	s.wantCalls(oidcgatetest.EndSession, 1)
	if got := v.cookieNames(shopURL); got != nil {
		v.Errorf("cookies after the logout: got %q, want none", got)
	}
	v.open(shopURL + "/account")
	v.wantText("h1", "Who are you?")
}

func evilLogoutStory(s *scene, how string) {
	v := s.customer()
	v.open(evil(how, "/auth/logout"))
	if how == "form" {
		if response := v.click("#go"); response.Status != 403 {
			s.Errorf("status: got %d, want 403", response.Status)
		}
		v.wantText("h1", "Not from here")
	}
	v.wantSignedIn("Alice Example")
	s.wantCalls(oidcgatetest.EndSession, 0)
}

func backAfterLogoutStory(s *scene) {
	v := s.customer()
	v.click("#logout")
	v.wantText("h1", "Signed out")
	v.back()
	v.wantText("h1", "Who are you?")
}

func linkStory(s *scene) {
	v := s.customer()
	calls := s.op.Count(oidcgatetest.Authorization)
	v.open(evil("link", "/orders"))
	v.click("#go")
	v.wantAt(shopURL + "/orders")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Authorization, calls)
}

func strangersLinkStory(s *scene) {
	v := s.visitor()
	v.open(evil("link", "/orders"))
	v.click("#go")
	v.click("#bob")
	v.wantAt(shopURL + "/orders")
	v.wantText("#who", "Bob Example")
}

func loginLinkStory(s *scene) {
	v := s.customer()
	calls := s.op.Count(oidcgatetest.Authorization)
	v.open(evil("link", "/auth/login"))
	v.click("#go")
	v.wantAt(shopURL + "/")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Authorization, calls)
	v.onlyCookie("after the link")
}

func frameStory(s *scene) {
	v := newVisitor(s.T, s.chromium) // not s.visitor, because its console reports the refusals
	for _, path := range []string{"/", "/auth/login", "/auth/logout"} {
		v.open(evil("frame", path))
	}
	want := []string{shopURL + "/auth/login", shopURL + "/auth/logout"}
	if got := v.refusedFrames(); !slices.Equal(got, want) {
		s.Errorf("frames refused: got %q, want %q", got, want)
	}
	s.wantCalls(oidcgatetest.Authorization, 0)
	if got := v.cookieNames(shopURL); got != nil {
		s.Errorf("cookies after the frames: got %q, want none", got)
	}
}

func embedsStory(s *scene) {
	v := newVisitor(s.T, s.chromium) // not s.visitor, because its console reports the refused frames
	v.open(shopURL + "/embeds")
	s.wantCalls(oidcgatetest.Authorization, 0)
	if got := v.cookieNames(shopURL); got != nil {
		s.Errorf("cookies: got %q, want none", got)
	}
}

func fetchStory(s *scene) {
	v := s.visitor()
	v.open(shopURL + "/")
	type answer struct {
		Status     int
		Type       string
		Redirected bool
		LoginURL   string
	}
	got := evaluate[answer](v, `fetch("/account").then(async r => ({
		Status: r.status, Type: r.headers.get("Content-Type"), Redirected: r.redirected, LoginURL: (await r.json()).login_url}))`)
	want := answer{401, "application/problem+json", false, shopURL + "/auth/login?return_to=%2F"} // the page that the script is on
	if got != want {
		s.Errorf("fetch: got %+v, want %+v", got, want)
	}
	s.wantCalls(oidcgatetest.Authorization, 0)
	v.open(got.LoginURL)
	v.click("#alice")
	v.wantAt(shopURL + "/")
}

func notSentStory(s *scene) {
	v := s.visitor()
	v.open(shopURL + "/")
	if response := v.click("#order"); response.Status != 401 {
		s.Errorf("status: got %d, want 401", response.Status)
	}
	v.wantText("h1", "Not sent")
	v.wantStyle()
	s.wantCalls(oidcgatetest.Authorization, 0)
	v.click("main a")
	v.click("#alice")
	v.wantAt(shopURL + "/")
	v.wantText("#who", "Alice Example")
}

func errorPageStory(s *scene) {
	v := s.visitor()
	if response := v.open(shopURL + "/auth/callback?code=c&state=s"); response.Status != 400 {
		s.Errorf("status: got %d, want 400", response.Status)
	}
	v.wantText("h1", "Login not found")
	v.wantStyle()
}

// wantStyle fails the test unless the gate's own style is applied, which its policy allows by its
// hash.
func (v *tab) wantStyle() {
	v.Helper()
	const script = `(style => style.maxWidth + " " + style.borderTopLeftRadius)(getComputedStyle(document.querySelector("main")))`
	if got := evaluate[string](v, script); strings.HasPrefix(got, "none") || strings.HasSuffix(got, " 0px") {
		v.Errorf("style of main at %s: got %q; the page's style is not applied", v.address(), got)
	}
}
