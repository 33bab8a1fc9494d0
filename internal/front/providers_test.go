package front_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/front"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/site"
)

func TestProvidersAreReplaced(t *testing.T) {
	var p front.Providers
	if p.Find("") != nil || len(p.All()) != 0 || p.ThirdParty() {
		t.Error("the zero value has a provider")
	}
	a := &front.Provider{Name: "a", Issuer: "https://id.example"}
	b := &front.Provider{Name: "b", Issuer: "https://id.example", ThirdParty: true}
	p.Replace([]*front.Provider{a})
	before := p.All()
	if p.Find("a") != a || p.Find("b") != nil || p.ThirdParty() || p.Initiator(a.Issuer) != nil {
		t.Error("with a alone, another provider than a is found, or others may begin its logins")
	}
	p.Replace([]*front.Provider{b, a})
	if p.Find("b") != b || p.Find("a") != a || !p.ThirdParty() || p.Initiator(a.Issuer) != b {
		t.Error("the providers that took the place of a are not found")
	}
	if p.Find("") != nil || p.Find("A") != nil || p.Initiator("https://id.example/") != nil {
		t.Error("a provider is found by another name or issuer than its own")
	}
	if len(before) != 1 || before[0] != a {
		t.Errorf("the providers of a request under way have changed: %v", before)
	}
}

// away is the way to a provider that does not answer.
type away struct{ asked *int }

func (a away) RoundTrip(*http.Request) (*http.Response, error) {
	*a.asked++
	return nil, errors.New("no route to host")
}

func TestReadyWhereOneProviderIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		client := func(issuer string, e op.Endpoints) *front.Provider {
			return &front.Provider{Name: issuer, Client: op.New(op.Config{
				Issuer: issuer, Endpoints: e, Timeout: time.Second, Transport: away{&asked}, Notify: func(op.Notice) {},
			})}
		}
		var p front.Providers
		p.Replace([]*front.Provider{client("https://a.example", op.Endpoints{})})
		if err := p.Ready(t.Context()); err == nil || asked == 0 {
			t.Errorf("alone: error %v, asked %d times", err, asked)
		}
		asked = 0
		p.Replace([]*front.Provider{client("https://a.example", op.Endpoints{}), client("https://b.example", op.Endpoints{
			Authorization: "https://b.example/authorize", Token: "https://b.example/token", JWKS: "https://b.example/jwks",
		})})
		err := p.Ready(t.Context())
		synctest.Wait()
		if err != nil || asked != 0 {
			t.Errorf("beside one that is known: error %v, asked %d times", err, asked)
		}
	})
}

// Paths that are not the gate's are left to the application, as the gate's must match exactly.
func TestPathsOfTheApplication(t *testing.T) {
	f := &front.Front{Site: &site.Site{Prefix: "/auth"}, Providers: &front.Providers{}}
	f.Providers.Replace([]*front.Provider{{}, {Name: "b"}})
	for _, path := range []string{
		"/", "/auth", "/auth/", "/authx/login", "/login", "/x/auth/login", "/auth/login/", "/auth//login",
		"/AUTH/login", "/auth/Login", "/auth/login/b", "/auth/logout/", "/auth/logout/b",
		"/auth/callback/", "/auth/callback/c", "/auth/callback/B", "/auth/callback/b/", "/auth//b",
		"/auth/callback/x/b", "/auth/b/callback", "/auth/backchannel-logout/", "/authcallback",
		"/auth/frontchannel-logout/c", "/auth/frontchannel-logout/b/b",
		"/auth/initiate", // no provider lets others begin logins
		"/auth/jwks",     // no client has keys
		"/auth/jwks/b",
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		if f.Serve(httptest.NewRecorder(), r) {
			t.Errorf("%s is a route of the gate", path)
		}
	}
}
