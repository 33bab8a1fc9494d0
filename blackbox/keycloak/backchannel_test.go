//go:build interop

package keycloak_test

import (
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/blackbox/internal/walk"
)

const patience = 3 * time.Minute // with Keycloak, on a busy machine

// freeAddr returns a loopback address on which no process listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(process.FreePort(t)))
}

// pair is a service with two replicas: users log in at the first, and Keycloak sends logout tokens
// to the second.
type pair struct {
	server          *server
	base            string
	first, receiver *rp.Replica
}

// testBackchannelLogout logs users out at Keycloak, without requests from their browsers.
func testBackchannelLogout(t *testing.T, s *server, options rp.Options, receiver string) {
	p := &pair{server: s, base: options["BASE_URL"], first: rp.Start(t, options)}
	p.receiver = rp.Start(t, options.With("ADDR", receiver))

	one := p.logIn(t)
	session := s.onlySession(t, alice.Claims["sub"].(string))
	other := p.logIn(t)
	p.wantSignedIn(t, one)
	p.wantSignedIn(t, other)

	t.Run("C125 the end of one session at Keycloak ends that session and no other", func(t *testing.T) {
		s.admin(t, http.MethodDelete, "/shop/sessions/"+session, nil, http.StatusNoContent)
		p.wantDead(t, one)
		p.wantSignedIn(t, other)
		p.wantAccepted(t, 1)
	})
	t.Run("the end of all of a user's sessions at Keycloak ends those that are left", func(t *testing.T) {
		s.admin(t, http.MethodPost, "/shop/users/"+alice.Claims["sub"].(string)+"/logout", nil, http.StatusNoContent)
		p.wantDead(t, other)
		p.wantAccepted(t, 2)
	})
	t.Run("C087 C117 a logout reaches the other sessions here of the session at Keycloak", func(t *testing.T) {
		v := visitor.New()
		v.Trust(s.roots)
		walk.LogIn(t, v, p.base+"/app", alice)
		before := v.Cookies(p.base)
		v.Clear(p.base) // and not Keycloak's
		v.Get(t, p.base+"/app")
		p.wantSignedIn(t, before)
		p.wantSignedIn(t, v.Cookies(p.base))
		walk.LogOut(t, v, p.base)
		p.wantDead(t, before)
	})
}

// logIn logs Alice in at the first replica with a new browser, and returns its cookies.
func (p *pair) logIn(t *testing.T) []*http.Cookie {
	t.Helper()
	v := visitor.New()
	v.Trust(p.server.roots)
	walk.LogIn(t, v, p.base+"/app", alice)
	return v.Cookies(p.base)
}

// whoami returns the status of a replica's response to a request with the cookies. Each call uses a
// new browser, because the replica may have deleted the cookies in an earlier one.
func (p *pair) whoami(t *testing.T, cookies []*http.Cookie, replica *rp.Replica) int {
	t.Helper()
	v := visitor.New()
	v.Route(p.base, replica.Addr)
	v.SetCookies(p.base, cookies)
	return v.Peek(t, p.base+"/whoami").Status
}

func (p *pair) wantSignedIn(t *testing.T, cookies []*http.Cookie) {
	t.Helper()
	for _, replica := range []*rp.Replica{p.first, p.receiver} {
		if status := p.whoami(t, cookies, replica); status != http.StatusOK {
			t.Errorf("%s answers %d to the cookies of a session that lives, want 200", replica.Addr, status)
		}
	}
}

func (p *pair) wantDead(t *testing.T, cookies []*http.Cookie) {
	t.Helper()
	for _, replica := range []*rp.Replica{p.first, p.receiver} {
		await(t, replica.Addr+" answers 401 to the cookies of a session that has ended", func() bool {
			return p.whoami(t, cookies, replica) == http.StatusUnauthorized
		})
	}
}

// wantAccepted checks that the receiver accepted the given number of logout tokens and refused
// none.
func (p *pair) wantAccepted(t *testing.T, want int) {
	t.Helper()
	await(t, strconv.Itoa(want)+" logout tokens are accepted", func() bool {
		return count(p.receiver.Events(t), "backchannel.accepted") == want
	})
	if count(p.receiver.Events(t), "backchannel.rejected") > 0 {
		t.Error("a logout token of Keycloak's was refused")
	}
}

func count(events []rp.Event, name string) int {
	return len(slices.DeleteFunc(events, func(e rp.Event) bool { return e.Name != name }))
}

func await(t *testing.T, what string, yes func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if yes() {
			return
		}
	}
	t.Fatalf("waited %v in vain until %s", patience, what)
}

// onlySession returns the id of the only session that a user has at Keycloak.
func (s *server) onlySession(t *testing.T, user string) string {
	t.Helper()
	var sessions []struct{ ID string }
	body := s.admin(t, http.MethodGet, "/shop/users/"+user+"/sessions", nil, http.StatusOK)
	if err := json.Unmarshal(body, &sessions); err != nil || len(sessions) != 1 {
		t.Fatalf("Keycloak's list of sessions is %s (%v), want one", body, err)
	}
	return sessions[0].ID
}
