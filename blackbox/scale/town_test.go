package scale_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
)

const (
	clientSecret = "a secret of client and provider"
	patience     = 2 * time.Minute // time limit for expected events, long enough for a busy machine
)

// A town is a service with several replicas, a provider, and people, each a different user. The
// provider rotates refresh tokens and treats a second use of one as theft.
type town struct {
	op       *idp.Provider
	front    *front
	options  rp.Options
	base     string
	replicas []*rp.Replica
	people   []*person
}

// A person is a user with a browser.
type person struct {
	*visitor.Visitor
	user idp.User
	sub  string
}

// plan has the settings of a town.
type plan struct {
	people       int
	firstTTL     int // lifetime in seconds of the access token of a login
	refreshedTTL int // lifetime in seconds of the access tokens of refreshes
	options      []string
	client       func(*idp.Client)
}

// newTown starts the provider, but no replica.
func newTown(t *testing.T, p plan) *town {
	t.Helper()
	base := rp.NewBaseURL(t)
	w := &town{base: base, front: newFront(t)}
	var users []idp.User
	for i := range p.people {
		sub := fmt.Sprintf("sub-%03d", i)
		u := idp.User{Login: fmt.Sprint("user", i), Password: "password", Claims: map[string]any{"sub": sub, "name": "User " + sub}}
		users = append(users, u)
		w.people = append(w.people, &person{visitor.New(), u, sub})
	}
	client := idp.NewClient("shop", clientSecret, "client_secret_basic", base)
	if p.client != nil {
		p.client(&client)
	}
	w.op = idp.Start(t, idp.Config{
		Issuer: w.front.issuer, Port: w.front.port, Clients: []idp.Client{client}, Users: users,
		AlwaysRefreshToken: true, RotateRefreshToken: true, Watched: true,
		TTL: map[string]int{"AccessToken": p.firstTTL}, RefreshedTTL: p.refreshedTTL,
	})
	w.options = rp.Options{
		"BASE_URL": base, "SESSION_KEYS": rp.NewKey(), "SESSION_VALUES": "true", "LOG_LEVEL": "error",
		"OIDC_ISSUER": w.front.issuer, "OIDC_CLIENT_ID": "shop", "OIDC_CLIENT_SECRET": clientSecret,
		"OIDC_SCOPES": "profile", "LOCK_LEASE": "3s", "REFRESH_MARGIN": "1s", "PROVIDER_TIMEOUT": "20s",
	}
	for i := 0; i < len(p.options); i += 2 {
		w.options[p.options[i]] = p.options[i+1]
	}
	return w
}

// open starts n more replicas.
func (w *town) open(t *testing.T, replicas int) {
	t.Helper()
	for range replicas {
		options := rp.Options{"ADDR": net.JoinHostPort("127.0.0.1", strconv.Itoa(process.FreePort(t)))}
		for name, value := range w.options {
			options[name] = value
		}
		w.replicas = append(w.replicas, rp.Start(t, options))
	}
}

// logIn signs people in, using the replicas in turn.
func (w *town) logIn(t *testing.T, people ...*person) {
	t.Helper()
	for i, p := range people {
		p.Route(w.base, w.replicas[i%len(w.replicas)].Addr)
		page := p.LogIn(t, p.Get(t, w.base+"/auth/login?return_to=/whoami"), p.user.Login, p.user.Password)
		if page.Status != http.StatusOK || !strings.Contains(page.Body, p.sub) {
			t.Fatalf("%s logs in and ends at %s with %d:\n%s", p.sub, page.URL, page.Status, page.Body)
		}
	}
}

// An answer is a replica's response to a person.
type answer struct {
	person *person
	asked  time.Time
	status int
	header http.Header
	body   string
	err    error
}

// get sends a request to one replica as a script does, on a new connection.
func (w *town) get(p *person, r *rp.Replica, path string) answer {
	return w.send(p, r, http.MethodGet, path)
}

func (w *town) send(p *person, r *rp.Replica, method, path string) answer {
	a := answer{person: p, asked: time.Now()}
	req, err := http.NewRequest(method, "http://"+r.Addr+path, nil)
	if err != nil {
		a.err = err
		return a
	}
	for _, c := range p.Cookies(w.base) {
		req.AddCookie(c)
	}
	req.Header.Set("Sec-Fetch-Mode", "cors") // so that a guarded page answers 401 and does not redirect to the login
	req.Host = strings.TrimPrefix(w.base, "http://")
	resp, err := direct.Do(req)
	if err != nil {
		a.err = err
		return a
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	a.status, a.header, a.body, a.err = resp.StatusCode, resp.Header, string(body), err
	return a
}

// direct keeps no connections open, because replicas are stopped and started.
var direct = &http.Client{
	Timeout:       patience,
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// burst requests the access token of each person the given number of times, all at once, over the
// given replicas.
func (w *town) burst(people []*person, each int, replicas ...*rp.Replica) []answer {
	answers := make([]answer, len(people)*each)
	var running sync.WaitGroup
	for i := range answers {
		running.Go(func() { answers[i] = w.get(people[i%len(people)], replicas[i%len(replicas)], "/token") })
	}
	running.Wait()
	return answers
}

// insist requests the access token of each person at one replica until the status is not 503.
func (w *town) insist(people []*person, r *rp.Replica) {
	var running sync.WaitGroup
	for _, p := range people {
		running.Go(func() {
			for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				if w.get(p, r, "/token").status != http.StatusServiceUnavailable {
					return
				}
			}
		})
	}
	running.Wait()
}

// wantLive checks that every answer is 200 with a token of that user that was valid when it was
// requested.
func wantLive(t *testing.T, seen idp.Watch, answers []answer) {
	t.Helper()
	for _, a := range answers {
		if a.err != nil || a.status != http.StatusOK {
			t.Errorf("%s is answered %d %s (%v), want 200 and a token", a.person.sub, a.status, a.body, a.err)
			continue
		}
		if err := live(seen, a); err != nil {
			t.Error(err)
		}
	}
}

// rounding is by how much provider and service may differ about the expiry of a token: the provider
// cuts it to whole seconds, and the service counts expires_in from when it gets the response (RFC
// 6749, section 5.1).
const rounding = 2

// live returns an error if the token of an answer is wrong or was not valid.
func live(seen idp.Watch, a answer) error {
	var body struct{ SHA256 string }
	if err := json.Unmarshal([]byte(a.body), &body); err != nil {
		return fmt.Errorf("%s is answered %q: %w", a.person.sub, a.body, err)
	}
	token, known := seen.Tokens[body.SHA256]
	asked := float64(a.asked.UnixMilli()) / 1000
	switch {
	case !known:
		return fmt.Errorf("%s has a token that the provider never issued", a.person.sub)
	case token.Subject != a.person.sub:
		return fmt.Errorf("%s has a token of %s", a.person.sub, token.Subject)
	case token.Expires+rounding < asked:
		return fmt.Errorf("%s has a token that ended %.1f s before it was asked for", a.person.sub, asked-token.Expires)
	case token.Revoked != 0 && token.Revoked < asked:
		return fmt.Errorf("%s has a token that was revoked %.1f s before it was asked for", a.person.sub, asked-token.Revoked)
	}
	return nil
}

// wantSignedIn checks that all people are signed in as the right user on every replica.
func (w *town) wantSignedIn(t *testing.T, people []*person, replicas ...*rp.Replica) {
	t.Helper()
	for i, p := range people {
		a := w.get(p, replicas[i%len(replicas)], "/whoami")
		if a.err != nil || a.status != http.StatusOK || !strings.Contains(a.body, `"sub":"`+p.sub+`"`) {
			t.Errorf("/whoami answers %s with %d %s (%v), want 200 and the subject", p.sub, a.status, a.body, a.err)
		}
	}
}

// refreshes returns how many refreshes of people succeeded between two states of the provider.
func refreshes(before, after idp.Watch, p *person) int {
	return after.Refreshes[p.sub] - before.Refreshes[p.sub]
}

// wantRefreshes checks that the provider got exactly n refreshes of each person, and refused none.
func wantRefreshes(t *testing.T, before, after idp.Watch, people []*person, want int) {
	t.Helper()
	for _, p := range people {
		if got := refreshes(before, after, p); got != want {
			t.Errorf("the provider saw %d refreshes of %s, want %d", got, p.sub, want)
		}
		if refused := after.Refused[p.sub] - before.Refused[p.sub]; refused != 0 {
			t.Errorf("the provider refused %d refreshes of %s, want none", refused, p.sub)
		}
	}
}

// count returns how many events of a name the replicas have printed.
func count(t *testing.T, name string, replicas ...*rp.Replica) int {
	t.Helper()
	n := 0
	for _, r := range replicas {
		for _, line := range strings.Split(r.Stdout(), "\n") {
			if strings.Contains(line, `"event":"`+name+`"`) {
				n++
			}
		}
	}
	return n
}

// await calls the function until it returns true.
func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if yes() {
			return
		}
	}
	t.Fatalf("waited %v in vain until %s", patience, what)
}
