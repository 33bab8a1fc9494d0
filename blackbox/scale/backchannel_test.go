package scale_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/blackbox/internal/idp"
	"github.com/oidcgate/oidcgate/blackbox/internal/process"
	"github.com/oidcgate/oidcgate/blackbox/internal/rp"
	"github.com/oidcgate/oidcgate/blackbox/internal/visitor"
	"github.com/oidcgate/oidcgate/internal/redistest"
)

// A user who logs out at the provider is logged out here, by a logout token that is sent to a
// replica which has never seen the session.
func TestBackchannelLogout(t *testing.T) {
	t.Run("C125 a token with sid ends that session of the provider's and no other", func(t *testing.T) {
		w := newLogoutTown(t, true)
		first, second := w.people[0], w.people[0].atAnotherBrowser()
		w.logInAtFirst(t, first, second, w.people[1])
		w.logOutAtProvider(t, first)
		w.wantDead(t, []*person{first})
		w.wantSignedIn(t, []*person{second, w.people[1]}, w.replicas...)
		w.logOutAtProvider(t, second)
		w.wantDead(t, []*person{second})
		w.wantSignedIn(t, w.people[1:], w.replicas...)
		w.wantAccepted(t, 2)
	})
	t.Run("C114 of one user's sessions the oldest ends first, and then a token with sub ends all the others", func(t *testing.T) {
		w := newLogoutTown(t, false)
		oldest := w.people[0]
		second, third := oldest.atAnotherBrowser(), oldest.atAnotherBrowser()
		w.logInAtFirst(t, oldest, second, third, w.people[1])
		w.endHere(t, oldest)
		w.wantDead(t, []*person{oldest})
		w.wantSignedIn(t, []*person{second, third, w.people[1]}, w.replicas...)
		w.logOutAtProvider(t, second)
		w.wantDead(t, []*person{oldest, second, third})
		w.wantSignedIn(t, w.people[1:], w.replicas...)
		w.wantAccepted(t, 1)
		time.Sleep(time.Second) // iat has whole seconds, and a login in the second of the logout would be ended too
		w.logInAtFirst(t, second)
		w.wantSignedIn(t, []*person{second}, w.replicas...)
	})
}

// newLogoutTown has three replicas. The last one gets the logout tokens, and no user logs in there.
func newLogoutTown(t *testing.T, sid bool) *town {
	t.Helper()
	receiver := net.JoinHostPort("127.0.0.1", strconv.Itoa(process.FreePort(t)))
	w := newTown(t, plan{people: 2, firstTTL: longLife, refreshedTTL: longLife,
		options: []string{"REDIS_URL", "redis://" + redistest.Start(t).Addr},
		client: func(c *idp.Client) {
			c.BackchannelLogoutURL = "http://" + receiver + "/auth/backchannel-logout"
			c.BackchannelSID = sid
		}})
	w.open(t, 2)
	options := rp.Options{}
	for name, value := range w.options {
		options[name] = value
	}
	options["ADDR"] = receiver
	w.replicas = append(w.replicas, rp.Start(t, options))
	return w
}

// atAnotherBrowser returns the same user with another browser, without cookies.
func (p *person) atAnotherBrowser() *person { return &person{visitor.New(), p.user, p.sub} }

func (w *town) logInAtFirst(t *testing.T, people ...*person) {
	t.Helper()
	for _, p := range people {
		w.logIn(t, p) // one at a time, so at the first replica
	}
}

// logOutAtProvider logs out on the provider's own page, without visiting this service.
func (w *town) logOutAtProvider(t *testing.T, p *person) {
	t.Helper()
	page := p.Get(t, w.front.issuer+"/session/end")
	if page.Form("op.logoutForm") == nil {
		t.Fatalf("the provider does not ask %s whether to log out:\n%s", p.sub, page.Body)
	}
	if page = p.ConfirmLogout(t, page); page.Status != http.StatusOK {
		t.Fatalf("logging %s out at the provider ends at %s with %d:\n%s", p.sub, page.URL, page.Status, page.Body)
	}
}

// endHere ends a person's session, chosen by its position in the list of the user's sessions, from
// another replica.
func (w *town) endHere(t *testing.T, p *person) {
	t.Helper()
	var list []struct {
		ID      string
		Current bool
	}
	a := w.get(p, w.replicas[1], "/sessions")
	if err := json.Unmarshal([]byte(a.body), &list); err != nil || len(list) != 3 {
		t.Fatalf("/sessions answers %d %q (%v), want a list of three", a.status, a.body, err)
	}
	for _, s := range list {
		if !s.Current {
			continue
		}
		if a := w.send(p, w.replicas[1], http.MethodPost, "/sessions/end?id="+url.QueryEscape(s.ID)); a.status != http.StatusNoContent {
			t.Fatalf("ending a session answers %d %q (%v), want 204", a.status, a.body, a.err)
		}
	}
}

// wantAccepted checks that the receiver accepted the given number of logout tokens and refused
// none.
func (w *town) wantAccepted(t *testing.T, want int) {
	t.Helper()
	receiver := w.replicas[len(w.replicas)-1]
	await(t, fmt.Sprint(want, " logout tokens are accepted"), func() bool { return count(t, "backchannel.accepted", receiver) == want })
	if strings.Contains(receiver.Stdout(), "backchannel.rejected") {
		t.Error("a logout token of the provider's was refused")
	}
}
