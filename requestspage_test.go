package oidcgate_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store"
)

// requestsPage is docs/requests.md: each of its rows is one of visits, and so a test of its own.
func requestsPage() string {
	answers := map[outcome]string{
		toLogin:  "303 to the login, and back to the page afterwards",
		toPage:   "401, a page that says that nothing was sent, with a link to the login",
		toScript: "401, problem+json",
	}
	var b strings.Builder
	b.WriteString("# Which request gets which answer\n\n" +
		"<!-- Written by go test . -run TestRequestsPage -update. Change the table in require_test.go. -->\n\n" +
		"What a visitor who is not signed in gets:\n\n" +
		"| request | method | headers | `Require` | `RequireAPI` |\n| --- | --- | --- | --- | --- |\n")
	for _, v := range visits {
		headers := "none"
		if len(v.headers) > 0 {
			headers = "`" + strings.Join(v.headers, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | 401, problem+json |\n", v.name, v.method, headers, answers[v.want])
	}
	b.WriteString(`
` + "`problem+json` (RFC 9457) has the login's address in `login_url`. It leads back to the page from which the request was made\n" +
		"(`Referer`), if that is on this site: with `Referrer-Policy: no-referrer` on your pages to the default path, with `same-origin` to\n" +
		"the page. `WWW-Authenticate` is `Session`. Browsers say in `Sec-Fetch-Mode` and `Sec-Fetch-Dest`\n" +
		"what they load; for those that do not, `Accept` tells.\n\n" +
		"In the login's address, `return_to` is where the login leads. `gone` says why the session cookie opened no session: `session`\n" +
		"(it has ended, or the store has lost it), `key` or `provider` (this replica does not know the key or the provider of the\n" +
		"session), or `cookie` (malformed, or there twice). A browser that comes to the login again and again is stopped by a page,\n" +
		"and the log names the cause by `gone`.\n\n" +
		"Every problem+json has `status`, `title`, `detail` and `type` (`about:blank`), and some have more:\n\n" +
		"| answer | more members |\n| --- | --- |\n" +
		problemRows() + "\n" +
		"`title` and `detail` are in the visitor's language, and in English in the answers of `RequireToken`; of a 401 for a fresh or a\n" +
		"stronger login, `title` is `insufficient_user_authentication`. The log has the `reference` too.\n\n" +
		"| what else | `Require` | `RequireAPI` |\n| --- | --- | --- |\n" +
		"| signed in, and every rule allows | the handler | the handler |\n" +
		"| signed in, and a rule refuses | 403, a page or problem+json | 403, problem+json |\n" +
		"| signed in, and `ACR` or `MaxAge` wants another login | as for nobody; problem+json has what is needed in `WWW-Authenticate` | 401, problem+json, the same |\n" +
		"| the store does not answer | 503 with `Retry-After`, a page or problem+json; the cookie stays | 503 with `Retry-After`, problem+json |\n" +
		"| the request is not from a page of this origin: `Sec-Fetch-Site` is `same-site` or `cross-site`, or it is missing, as are `X-Requested-With` and a WebSocket's own `Origin`, and there is a session | no difference | 403, problem+json, whatever the method |\n" +
		"| a link on a page of this origin leads to it (`Sec-Fetch-Mode: navigate`): another site may have begun that | no difference | 403, problem+json |\n" +
		"| the request did not pass `Wrap` | 500, and the log has the cure | 500, the same |\n\n" +
		"Where it is \"a page or problem+json\", a script and whoever takes no HTML gets problem+json. All others get the page, also\n" +
		"with `Accept: */*`, as curl sends it, and where the 401 is problem+json.\n\n" +
		"`RequireEither` answers a request with an access token in `Authorization` as `RequireToken` does ([apis.md](apis.md)), and any\n" +
		"other as `RequireAPI`, with the challenges of `RequireToken`, `Bearer` and `DPoP`, after `Session` in its 401.\n")
	return b.String()
}

// problems are answers to scripts, with the members that not every problem+json has.
var problems = []struct {
	name    string
	answer  func(*world, *tallyStore) answer
	members []string
}{
	{"401, not signed in, or not as a rule wants it", func(w *world, _ *tallyStore) answer { return w.get("/app", asScript) }, []string{"login_url"}},
	{"403, a rule refuses", func(w *world, _ *tallyStore) answer { w.login(); return w.get("/admin", asScript) }, []string{"reference"}},
	{"403, the request is not from a page of this origin", func(w *world, _ *tallyStore) answer {
		w.login()
		w.handler = w.gate.Wrap(w.gate.RequireAPI()(http.NotFoundHandler()))
		return w.get("/app", asScript)
	}, nil},
	{"503, the store does not answer", func(w *world, tally *tallyStore) answer {
		w.login()
		tally.ill.Store(true)
		return w.get("/app", asScript)
	}, nil},
	{"401 of `RequireToken`", func(w *world, _ *tallyStore) answer { return newAPI(w.T).get("/api") }, nil},
	{"403 of `RequireToken`, a rule refuses", func(w *world, _ *tallyStore) answer {
		a := newAPI(w.T)
		return a.call("/api/admin", a.op.NewAccessToken(nil).Compact())
	}, []string{"reference"}},
	{"401 of `RequireEither` without an access token", func(w *world, _ *tallyStore) answer { return newAPI(w.T).get("/either") }, []string{"login_url"}},
	{"a login that is refused", func(w *world, _ *tallyStore) answer { return w.get("/auth/callback?state=x", asScript) }, []string{"reason", "reference"}},
}

const asScript = "Accept: application/json"

func problemRows() string {
	var b strings.Builder
	for _, p := range problems {
		members := "none"
		if len(p.members) > 0 {
			members = "`" + strings.Join(p.members, "`, `") + "`"
		}
		fmt.Fprintf(&b, "| %s | %s |\n", p.name, members)
	}
	return b.String()
}

func TestMembersOfProblems(t *testing.T) {
	for _, p := range problems {
		t.Run(p.name, func(t *testing.T) {
			tally := &tallyStore{Store: &store.Memory{}}
			w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider) { c.Store = tally })
			a := p.answer(w, tally)
			var problem map[string]any
			if err := json.Unmarshal([]byte(a.body), &problem); err != nil || !strings.HasPrefix(p.name, fmt.Sprint(problem["status"])) && p.name[0] != 'a' {
				t.Fatalf("%v: %s", err, a.body)
			}
			want := append([]string{"detail", "status", "title", "type"}, p.members...)
			slices.Sort(want)
			if got := slices.Sorted(maps.Keys(problem)); !slices.Equal(got, want) {
				t.Errorf("it has %q, want %q", got, want)
			}
		})
	}
}

func TestRequestsPage(t *testing.T) {
	const file = "docs/requests.md"
	want := requestsPage()
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("%s is not what the table says; run: go test . -run TestRequestsPage -update (%v)", file, err)
	}
}
