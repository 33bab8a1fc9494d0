package oidcgate_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// Whoever ends a session, the event says whose it was.
func TestEndedSessionsSayWhoseTheyWere(t *testing.T) {
	const iss = "https://id.test"
	answer := func(e oidcgatetest.Endpoint, status int, body string) func(*fleet) {
		return func(f *fleet) {
			f.op.Always(e, oidcgatetest.Answer(status, "application/json", body))
			time.Sleep(11 * time.Minute)
			f.admin()
		}
	}
	for _, row := range []struct {
		name   string
		reason oidcgate.Reason
		end    func(*fleet)
	}{
		{"the visitor", oidcgate.ReasonByUser, func(f *fleet) { f.logout(sameOrigin) }},
		{"a logout token", oidcgate.ReasonBackchannel, func(f *fleet) { f.logoutToken(f.logoutClaims("sub", "alice")) }},
		{"a logout token with a sid", oidcgate.ReasonBackchannel, func(f *fleet) {
			f.logoutToken(f.logoutClaims("sid", f.sid(f.browser)))
		}},
		{"a frame", oidcgate.ReasonFrontchannel, func(f *fleet) {
			f.frontchannel(f.browser, "iss="+iss+"&sid="+f.sid(f.browser), "Sec-Fetch-Dest: iframe", "Sec-Fetch-Site: cross-site")
		}},
		{"EndUser", oidcgate.ReasonByAdmin, func(f *fleet) {
			if n, err := f.gate.Sessions().EndUser(f.Context(), iss, "alice"); n != 1 || err != nil {
				f.Errorf("EndUser: %d, %v", n, err)
			}
		}},
		{"EndProviderSession", oidcgate.ReasonByAdmin, func(f *fleet) {
			if n, err := f.gate.Sessions().EndProviderSession(f.Context(), iss, f.sid(f.browser)); n != 1 || err != nil {
				f.Errorf("EndProviderSession: %d, %v", n, err)
			}
		}},
		{"EndOthers", oidcgate.ReasonByUser, func(f *fleet) { f.send(f.signInAs("alice"), http.MethodGet, "/sessions/end-others", "") }},
		{"End", oidcgate.ReasonByUser, func(f *fleet) { f.end(f.signInAs("alice"), f.current(f.browser)) }},
		{"too many sessions", "session_limit", func(f *fleet) {
			time.Sleep(time.Minute) // the oldest ends
			f.signInAs("alice")
			f.signInAs("alice")
		}},
		{"a refused refresh", oidcgate.ReasonByToken, answer(oidcgatetest.Token, 400, `{"error":"invalid_grant"}`)},
		{"userinfo about another user", oidcgate.ReasonByToken, answer(oidcgatetest.Userinfo, 200, `{"sub":"mallory"}`)},
	} {
		inBubble(t, row.name, func(t *testing.T) {
			f := newFleet(t, 2, rereads, asksUserinfo, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Limits.UserSessions = 2 })
			f.op.SetUser(oidcgatetest.User{Subject: "alice"})
			f.login()
			created := f.reported(oidcgate.EventSessionCreated)[0]
			row.end(f)
			ended := f.reported(oidcgate.EventSessionRevoked)
			if len(ended) != 1 {
				t.Fatalf("%d sessions were ended: %+v", len(ended), ended)
			}
			e := ended[0]
			if e.Reason != row.reason || e.Issuer != iss || e.SubjectHash != created.SubjectHash || e.SessionRef != created.SessionRef || e.SubjectHash == "" {
				t.Errorf("the event is %+v, want the session of %+v, ended for the reason %q", e, created, row.reason)
			}
		})
	}
}
