package oidcgate_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
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
		"(`Referer`), if that is on this site, and `WWW-Authenticate` is `Session`. Browsers say in `Sec-Fetch-Mode` and `Sec-Fetch-Dest`\n" +
		"what they load; for those that do not, `Accept` tells.\n\n" +
		"| what else | `Require` | `RequireAPI` |\n| --- | --- | --- |\n" +
		"| signed in, and every rule allows | the handler | the handler |\n" +
		"| signed in, and a rule refuses | 403, a page or problem+json | 403, problem+json |\n" +
		"| signed in, and `ACR` or `MaxAge` wants another login | as for nobody, with what is needed in `WWW-Authenticate` | 401, problem+json, the same |\n" +
		"| the store does not answer | 503 with `Retry-After`, a page or problem+json; the cookie stays | 503 with `Retry-After`, problem+json |\n" +
		"| the request is not from a page of this origin: `Sec-Fetch-Site` is `same-site` or `cross-site`, or it is missing and so is `X-Requested-With`, and there is a session | no difference | 403, problem+json, whatever the method |\n" +
		"| a link on a page of this origin leads to it (`Sec-Fetch-Mode: navigate`): another site may have begun that | no difference | 403, problem+json |\n" +
		"| the request did not pass `Wrap` | 500, and the log has the cure | 500, the same |\n\n" +
		"With access tokens in place of a session: `RequireToken`; with either: `RequireEither`. See `go doc oidcgate.Gate.AdmitToken`.\n")
	return b.String()
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
