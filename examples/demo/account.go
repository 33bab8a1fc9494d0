package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/oidcgate/oidcgate"
)

// account is the data of the account page.
type account struct {
	Email    string
	Verified bool
	Groups   []string
	Logins   []way
	Times    []moment
	Devices  []device
	Claims   []claim
}

// moment is a point in time of a session.
type moment struct{ Label, Clock, Hint string }

// claim is one claim about the user.
type claim struct{ Name, Value, Source string }

func (s *shop) account(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // the guard admits only signed-in users
	devices, err := s.devices(r.Context())
	if err != nil {
		s.devicesUnavailable(w, r)
		return
	}
	logins, err := s.ways(r.Context(), id)
	if err != nil {
		s.devicesUnavailable(w, r)
		return
	}
	a := account{Logins: logins, Times: timesOf(id), Devices: devices, Claims: claimsOf(id)}
	a.Email, a.Verified = id.Email()
	a.Groups, _ = id.ClaimStrings("groups")
	s.show(w, r, http.StatusOK, "account.html", view{Title: "Account", Page: "account", Body: a})
}

func timesOf(id *oidcgate.Identity) []moment {
	times := []moment{
		{"Signed in", clock(id.Created()), "start of this session"},
		{"Ends if idle", clock(id.IdleExpires()), "each request moves it later"},
		{"Ends anyway", clock(id.Expires()), "even if you stay active"},
	}
	if t := id.AuthTime(); !t.IsZero() {
		times = slices.Insert(times, 0, moment{"Authenticated", clock(t), "at the provider"})
	}
	return times
}

func clock(t time.Time) string { return t.Local().Format("2 Jan 2006, 15:04:05") }

// claimsOf lists the claims by name, each with its source.
func claimsOf(id *oidcgate.Identity) []claim {
	var all map[string]json.RawMessage
	if id.Decode(&all) != nil {
		return nil
	}
	var list []claim
	for _, name := range slices.Sorted(maps.Keys(all)) {
		source := "ID Token"
		if id.FromUserinfo(name) {
			source = "userinfo"
		}
		list = append(list, claim{name, inWords(name, all[name]), source})
	}
	return list
}

// inWords returns a readable form of a claim: strings without quotes, and times in seconds since
// 1970 together with the date.
func inWords(name string, value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil {
		return text
	}
	var seconds int64
	if slices.Contains([]string{"iat", "exp", "nbf", "auth_time", "updated_at"}, name) && json.Unmarshal(value, &seconds) == nil {
		return fmt.Sprintf("%d (%s)", seconds, clock(time.Unix(seconds, 0)))
	}
	return string(value)
}
