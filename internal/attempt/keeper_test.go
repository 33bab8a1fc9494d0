package attempt_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/attempt"
	"github.com/oidcgate/oidcgate/internal/browser"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/internal/seal"
)

const (
	timeout = 10 * time.Minute // of an attempt
	skew    = time.Minute
	name    = "gate" // of the session cookie
)

// person is a browser with its cookies, and the keeper of the service that it visits.
type person struct {
	*testing.T
	*attempt.Keeper
	cookies   map[string]string
	site      string // Sec-Fetch-Site of its requests
	evicted   int
	shortened []string
}

func newPerson(t *testing.T) *person {
	t.Helper()
	ring, err := seal.NewRing([][]byte{make([]byte, seal.KeyLen)}, "gate")
	if err != nil {
		t.Fatal(err)
	}
	p := &person{T: t, cookies: map[string]string{}}
	p.Keeper = &attempt.Keeper{
		Ring: ring, Name: name, Timeout: timeout, ClockSkew: skew, DefaultPath: "/",
		Cookies:   browser.Cookies{Secure: true},
		Evicted:   func(context.Context) { p.evicted++ },
		Shortened: func(_ context.Context, returnTo string) { p.shortened = append(p.shortened, returnTo) },
	}
	return p
}

// inTime runs a test in a bubble, where time passes when everybody waits.
func inTime(t *testing.T, name string, test func(p *person)) {
	t.Helper()
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(newPerson(t)) })
	})
}

// request returns a request with the cookies, in the order of their names.
func (p *person) request() *http.Request {
	r := httptest.NewRequest("GET", "/", nil)
	if p.site != "" {
		r.Header.Set("Sec-Fetch-Site", p.site)
	}
	for _, name := range p.names("") {
		r.AddCookie(&http.Cookie{Name: name, Value: p.cookies[name]})
	}
	return r
}

// names returns the names of the cookies that begin with a prefix, in their order.
func (p *person) names(prefix string) []string {
	var names []string
	for name := range p.cookies {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// visit makes a request and keeps the cookies of its answer. It returns the names of those that the
// answer sets.
func (p *person) visit(serve func(http.ResponseWriter, *http.Request)) (set []string) {
	p.Helper()
	w := httptest.NewRecorder()
	serve(w, p.request())
	for _, c := range w.Result().Cookies() {
		set = append(set, c.Name)
		p.cookies[c.Name] = c.Value
		if c.MaxAge < 0 {
			delete(p.cookies, c.Name)
		}
	}
	return set
}

// begin begins an attempt and keeps it.
func (p *person) begin(change func(*attempt.Attempt)) (attempt.Attempt, error) {
	p.Helper()
	var a attempt.Attempt
	if err := a.Begin(attempt.At{Provider: "shop"}); err != nil {
		p.Fatal(err)
	}
	if change != nil {
		change(&a)
	}
	var err error
	p.visit(func(w http.ResponseWriter, r *http.Request) { err = p.Keep(w, r, a) })
	return a, err
}

// mustBegin is begin where nothing may fail. It returns the state.
func (p *person) mustBegin(change func(*attempt.Attempt)) string {
	p.Helper()
	a, err := p.begin(change)
	if err != nil {
		p.Fatal(err)
	}
	return a.State()
}

// wantFound looks for an attempt, and checks for which reason it is not found; "": it is found.
func (p *person) wantFound(state string, want event.Reason) {
	p.Helper()
	a, err := p.Find(p.request(), attempt.At{Provider: "shop"}, state)
	var reason event.Reason
	if e, ok := errors.AsType[*attempt.NotFound](err); ok {
		reason = e.Reason
	}
	if reason != want || (err == nil) != (want == "") {
		p.Errorf("error %v with the reason %q, want %q", err, reason, want)
	}
	if err == nil && a.State() != state {
		p.Errorf("another attempt is found")
	}
}

func TestFind(t *testing.T) {
	ago := func(d time.Duration) func(*attempt.Attempt) {
		return func(a *attempt.Attempt) { a.Start = time.Now().Add(-d) }
	}
	tests := []struct {
		name   string
		change func(*attempt.Attempt)
		want   event.Reason
	}{
		{"C029 just begun", nil, ""},
		{"C029 begun just not too long ago", ago(timeout - time.Millisecond), ""},
		{"C029 begun too long ago", ago(timeout), event.ReasonStateExpired},
		{"C029 begun in the future, as far as clocks may differ", ago(-skew), ""},
		{"C029 begun in the future", ago(-skew - time.Millisecond), event.ReasonStateExpired},
		{
			"C032 begun at another provider",
			func(a *attempt.Attempt) { a.Provider = "other" }, event.ReasonIssMismatch,
		},
	}
	for _, tt := range tests {
		inTime(t, tt.name, func(p *person) { p.wantFound(p.mustBegin(tt.change), tt.want) })
	}
	inTime(t, "C029 the cookie of one attempt under the name of another", func(p *person) {
		first := p.mustBegin(nil)
		name := p.names("gate-a-")[0]
		second := newPerson(p.T)
		second.mustBegin(nil)
		p.cookies[name] = second.cookies[second.names("gate-a-")[0]]
		p.wantFound(first, event.ReasonStateBrowserMismatch)
	})
	inTime(t, "C029 the cookie's name is the state's, and the attempt in it another", func(p *person) {
		state := p.mustBegin(nil)
		name := p.names("gate-a-")[0]
		var another attempt.Attempt
		if err := another.Begin(attempt.At{Provider: "shop"}); err != nil {
			t.Fatal(err)
		}
		var err error
		p.cookies[name], err = p.Ring.SealText(seal.Binding{Purpose: "attempt", Name: name}, another)
		if err != nil {
			t.Fatal(err)
		}
		p.wantFound(state, event.ReasonStateBrowserMismatch)
	})
	inTime(t, "C029 a damaged cookie, and one that is too long", func(p *person) {
		state := p.mustBegin(nil)
		name := p.names("gate-a-")[0]
		for _, value := range []string{"", "x", p.cookies[name] + "A", strings.Repeat("x", 1025)} {
			p.cookies[name] = value
			p.wantFound(state, event.ReasonStateBrowserMismatch)
		}
	})
	inTime(t, "C029 the state of an attempt without a seed, which everybody can compute", func(p *person) {
		known := newPerson(p.T)
		state := known.mustBegin(func(a *attempt.Attempt) { a.Seed = nil })
		p.cookies[known.names("")[0]] = "junk"
		p.wantFound(state, event.ReasonStateBrowserMismatch)
	})
	inTime(t, "C029 a state of this length that nobody here has, and one of another", func(p *person) {
		p.mustBegin(nil)
		p.wantFound(strings.Repeat("x", 43), event.ReasonUnknownState)
		p.wantFound(strings.Repeat("x", 42), event.ReasonUnknownState)
		p.wantFound("", event.ReasonUnknownState)
		if _, err := p.Find(p.request(), attempt.At{Provider: "shop"}, "short"); !strings.Contains(err.Error(), "5 bytes") {
			t.Errorf("the error %v", err)
		}
	})
	inTime(t, "an attempt that began under the older cookie name", func(p *person) {
		state := p.mustBegin(nil)
		p.Name = "new"
		p.wantFound(state, event.ReasonUnknownState)
		under := p.names("gate-a-")[0]
		p.cookies["-a-"+strings.TrimPrefix(under, "gate-a-")] = p.cookies[under]
		p.wantFound(state, event.ReasonUnknownState)
		p.Older = "another"
		if p.Any(p.request()) {
			t.Error("an attempt under a name that is nobody's counts")
		}
		p.Older = ""
		if p.Any(p.request()) {
			t.Error("an attempt under no name counts")
		}
		p.Older = name
		p.wantFound(state, "")
		if !p.Any(p.request()) {
			t.Error("an attempt under the older name does not count")
		}
		p.cookies["new-a-"+strings.TrimPrefix(under, "gate-a-")] = p.cookies[under]
		p.wantFound(state, event.ReasonStateBrowserMismatch)
	})
	inTime(t, "an attempt that was dropped is gone", func(p *person) {
		state := p.mustBegin(nil)
		if !p.Any(p.request()) {
			t.Error("no attempt counts")
		}
		p.visit(func(w http.ResponseWriter, r *http.Request) {
			a, err := p.Find(r, attempt.At{Provider: "shop"}, state)
			if err != nil {
				t.Fatal(err)
			}
			p.Drop(w, &a)
		})
		p.wantFound(state, event.ReasonUnknownState)
		if p.Any(p.request()) {
			t.Error("an attempt still counts")
		}
	})
}

func TestTheRandomSourceFails(t *testing.T) {
	p := newPerson(t)
	broken(t)
	var a attempt.Attempt
	if a.Begin(attempt.At{Provider: "shop"}) == nil {
		t.Error("F42 an attempt begins")
	}
	w := httptest.NewRecorder()
	err := p.Keep(w, p.request(), a)
	if logout := p.KeepLogout(w, "state", "/"); err == nil || logout == nil {
		t.Errorf("F42 an attempt is kept, %v, and a logout, %v", err, logout)
	}
	p.LoggedIn(w, p.request(), nil)
	if cookies := w.Result().Cookies(); len(cookies) != 0 || p.SealStep("id", attempt.Step{}) != "" {
		t.Errorf("F42 cookies %v", cookies)
	}
}

// broken breaks the random source until the end of the test.
func broken(t *testing.T) {
	whole := rand.Reader
	rand.Reader = iotest.ErrReader(errors.New("no randomness"))
	t.Cleanup(func() { rand.Reader = whole })
}

func TestKeep(t *testing.T) {
	long := strings.Repeat("x", 1024)
	inTime(t, "a return path that is too long is replaced", func(p *person) {
		state := p.mustBegin(func(a *attempt.Attempt) { a.ReturnTo = "/" + long })
		a, err := p.Find(p.request(), attempt.At{Provider: "shop"}, state)
		if err != nil || a.ReturnTo != "/" || !slices.Equal(p.shortened, []string{"/" + long}) {
			t.Errorf("return path %.20q, %v, and %d were too long", a.ReturnTo, err, len(p.shortened))
		}
	})
	inTime(t, "an attempt that does not fit into a cookie is an error, and no cookie", func(p *person) {
		p.mustBegin(nil)
		_, err := p.begin(func(a *attempt.Attempt) { a.Step.ACR = []string{strings.Repeat(long, 3)} })
		if !errors.Is(err, attempt.ErrTooLong) || len(p.names("")) != 1 {
			t.Errorf("error %v, cookies %q", err, p.names(""))
		}
	})
	for name, change := range map[string]func(*attempt.Attempt){
		"options": func(a *attempt.Attempt) { a.Silent, a.Options = true, []byte(`"`+long+`"`) },
		"classes": func(a *attempt.Attempt) { a.Step.ACR = []string{long[:500], long[500:]} },
	} {
		inTime(t, "a kilobyte of "+name+" takes no room from the return path", func(p *person) {
			before := p.mustBegin(nil)
			state := p.mustBegin(func(a *attempt.Attempt) {
				change(a)
				a.ReturnTo = "/" + long[:300]
			})
			a, err := p.Find(p.request(), attempt.At{Provider: "shop"}, state)
			if err != nil || a.ReturnTo != "/"+long[:300] || len(a.Options) < 1024 && len(a.Step.ACR) == 0 {
				t.Errorf("found %v: a return path of %d bytes, %d of options", err, len(a.ReturnTo), len(a.Options))
			}
			p.wantFound(before, "")
		})
	}
	inTime(t, "a login that may ask is not sent again, and does not keep its options", func(p *person) {
		state := p.mustBegin(func(a *attempt.Attempt) {
			a.Silent, a.Interactive, a.Options = true, true, []byte(`"x"`)
		})
		if a, err := p.Find(p.request(), attempt.At{Provider: "shop"}, state); err != nil || a.Options != nil {
			t.Errorf("%v: options %s", err, a.Options)
		}
	})
	inTime(t, "the longest cookie has a kilobyte, name included", func(p *person) {
		longest := 0
		for n := range 1000 {
			q := newPerson(p.T)
			q.mustBegin(func(a *attempt.Attempt) { a.ReturnTo = "/" + long[:n] })
			name := q.names("")[0]
			if size := len(name) + len(q.cookies[name]); len(q.shortened) == 0 {
				longest = max(longest, size)
			}
			if len(q.shortened) == 1 && n < 300 {
				t.Fatalf("a return path of %d bytes is too long", n+1)
			}
		}
		if longest != 1024 {
			t.Errorf("the longest has %d bytes", longest)
		}
	})
}

func TestKeepMakesRoom(t *testing.T) {
	// begun begins attempts, a second apart, and returns their states.
	begun := func(p *person, n int, change func(*attempt.Attempt)) (states []string) {
		for range n {
			states = append(states, p.mustBegin(change))
			time.Sleep(time.Second)
		}
		return states
	}
	inTime(t, "F27 the ninth attempt deletes the oldest", func(p *person) {
		states := begun(p, 8, nil)
		if p.evicted != 0 || len(p.cookies) != 8 {
			t.Fatalf("of eight, %d are evicted", p.evicted)
		}
		states = append(states, begun(p, 1, nil)...)
		p.wantFound(states[0], event.ReasonUnknownState)
		for _, state := range states[1:] {
			p.wantFound(state, "")
		}
		if p.evicted != 1 {
			t.Errorf("%d are evicted", p.evicted)
		}
	})
	inTime(t, "F27 a page of another site deletes no login of the visitor's own", func(p *person) {
		states := begun(p, 8, nil)
		p.site = "cross-site"
		foreign := p.mustBegin(nil)
		for _, state := range states {
			p.wantFound(state, "")
		}
		p.wantFound(foreign, event.ReasonUnknownState)
		if p.evicted != 1 {
			t.Errorf("%d are evicted", p.evicted)
		}
	})
	inTime(t, "F27 a page of another site deletes the newest that another site began", func(p *person) {
		p.site = "cross-site"
		foreign := begun(p, 7, nil)
		p.site = "same-origin"
		own := begun(p, 1, nil)
		p.site = "cross-site"
		newest := begun(p, 1, nil)
		for _, state := range append(append(own, newest...), foreign[:6]...) {
			p.wantFound(state, "")
		}
		p.wantFound(foreign[6], event.ReasonUnknownState)
	})
	inTime(t, "F27 long attempts: all cookies have at most 3,900 bytes", func(p *person) {
		begun(p, 12, func(a *attempt.Attempt) { a.ReturnTo = "/" + strings.Repeat("x", 550) })
		size := 0
		for name, value := range p.cookies {
			size += len(name) + len(value)
		}
		if len(p.shortened) != 0 || size > 3900 || size < 3000 || p.evicted != 12-len(p.cookies) {
			t.Errorf("%d cookies with %d bytes, %d evicted", len(p.cookies), size, p.evicted)
		}
	})
	inTime(t, "F27 all cookies may have exactly 3,900 bytes", func(p *person) {
		size := func(returnTo string) int {
			q := newPerson(p.T)
			q.mustBegin(func(a *attempt.Attempt) { a.ReturnTo = returnTo })
			name := q.names("")[0]
			return len(name) + len(q.cookies[name])
		}
		returnTo := "/"
		for size(returnTo) < 780 {
			returnTo += "x"
		}
		begun(p, 5, func(a *attempt.Attempt) { a.ReturnTo = returnTo })
		if n := size(returnTo); n != 780 || p.evicted != 0 {
			t.Errorf("five of %d bytes: %d are evicted", n, p.evicted)
		}
	})
	inTime(t, "F27 attempts that are over are deleted, and take no place", func(p *person) {
		begun(p, 7, nil)
		time.Sleep(timeout)
		state := p.mustBegin(nil)
		if p.evicted != 0 || len(p.cookies) != 1 {
			t.Errorf("%d cookies, %d evicted", len(p.cookies), p.evicted)
		}
		p.wantFound(state, "")
	})
	inTime(t, "F27 an attempt is under way until its timeout", func(p *person) {
		p.mustBegin(nil)
		time.Sleep(timeout - time.Millisecond)
		p.mustBegin(nil)
		if len(p.cookies) != 2 {
			t.Errorf("%d cookies just before the first is over", len(p.cookies))
		}
		time.Sleep(time.Millisecond)
		p.mustBegin(nil)
		if len(p.cookies) != 2 {
			t.Errorf("%d cookies when the first is over", len(p.cookies))
		}
	})
	inTime(t, "F27 one answer deletes at most sixteen cookies that are no attempts", func(p *person) {
		for i := range 20 {
			p.cookies[fmt.Sprint("gate-a-", i)] = "junk"
		}
		p.cookies["app"] = "of the application"
		p.mustBegin(nil)
		if junk := len(p.names("gate-a-")) - 1; junk != 4 || p.evicted != 0 {
			t.Errorf("%d of 20 are left, %d evicted", junk, p.evicted)
		}
		if p.cookies["app"] == "" {
			t.Error("a cookie of the application is deleted")
		}
	})
}

func TestUser(t *testing.T) {
	tests := []struct {
		name, user, issuer, subject string
		want                        bool
	}{
		{"a login is for everybody", "", "https://id.test", "alice", true},
		{"C025 a step-up is for its user", attempt.UserOf("https://id.test", "alice"), "https://id.test", "alice", true},
		{"C025 another subject", attempt.UserOf("https://id.test", "alice"), "https://id.test", "bob", false},
		{"C025 another issuer", attempt.UserOf("https://id.test", "alice"), "https://id2.test", "alice", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attempt.Attempt{User: tt.user}
			if got := a.IsFor(tt.issuer, tt.subject); got != tt.want {
				t.Errorf("IsFor is %v", got)
			}
		})
	}
}

func TestSecretsOfAnAttempt(t *testing.T) {
	var a, b attempt.Attempt
	if err := errors.Join(a.Begin(attempt.At{Provider: "shop"}), b.Begin(attempt.At{Provider: "shop"})); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, secret := range []string{
		a.State(), a.Nonce(), a.Verifier(), string(a.DPoPSecret()), a.Reference(),
		b.State(), b.Nonce(), b.Verifier(), string(b.DPoPSecret()), b.Reference(),
	} {
		if len(secret) != 43 || seen[secret] {
			t.Errorf("C020 a secret of %d bytes, seen before: %v", len(secret), seen[secret])
		}
		seen[secret] = true
	}
	if a.Reference() != attempt.Reference(a.State()) {
		t.Error("the reference is not that of the state")
	}
	if text := fmt.Sprintf("%v %+v %#v %s", a, a, a, &a); text != "attempt attempt attempt attempt" {
		t.Errorf("an attempt is printed as %s", text)
	}
}
