package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// addFile writes the file of a provider at which bea is logged in at once.
func (w *world) addFile(dir, name string) {
	w.Helper()
	op := oidcgatetest.NewProvider(w.T)
	op.Server()
	op.AddClient(oidcgatetest.Client{ID: "rp", Secret: "a secret", RedirectURLs: []string{w.base + "/auth/callback/" + name}})
	op.SetUser(oidcgatetest.User{Subject: "bea"})
	writeFile(w.T, filepath.Join(dir, name+".env"), "# the second\n\nOIDC_ISSUER="+op.Issuer()+"\nOIDC_CLIENT_ID=rp\nOIDC_CLIENT_SECRET=a secret\n")
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// readAgain has the files read again and returns the names of the providers.
func (w *world) readAgain(status int) []string {
	w.Helper()
	a := w.do(w.request(http.MethodPost, "/providers"))
	w.wants(a, status, "")
	var answer struct{ Providers []string }
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		w.Fatalf("/providers: %q: %v", a.body, err)
	}
	return answer.Providers
}

func TestProvidersAreAddedAndTakenAway(t *testing.T) {
	eachRouter(t, func(t *testing.T, router string) {
		dir := t.TempDir()
		w := start(t, map[string]string{"ROUTER": router, "PROVIDERS": dir})
		w.wants(w.get("/app"), http.StatusOK, "hello Ann")
		w.addFile(dir, "second")
		w.wants(w.get("/auth/login?provider=second&return_to=/me"), http.StatusOK, `"sub":"ann"`) // not yet known: the only provider
		if got := w.readAgain(http.StatusOK); !slices.Equal(got, []string{"", "second"}) {
			t.Errorf("the providers are %q", got)
		}
		w.wants(w.get("/auth/login?provider=second&return_to=/me"), http.StatusOK, `"provider":"second"`)

		writeFile(t, filepath.Join(dir, "third.env"), "OIDC_ISSUER=ftp://id.example")
		w.readAgain(http.StatusBadRequest)
		w.wants(w.get("/me"), http.StatusOK, `"provider":"second"`)
		for _, name := range []string{"second", "third"} {
			if err := os.Remove(filepath.Join(dir, name+".env")); err != nil {
				t.Fatal(err)
			}
		}
		w.readAgain(http.StatusOK)
		w.wants(w.get("/me"), http.StatusUnauthorized, "not signed in")
	})
}

func TestFilesOfProvidersThatAreWrong(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"name": "OIDC_ISUER=https://id.example", "line": "OIDC_ISSUER", "value": "OIDC_USERINFO=maybe", "other": "SESSION_KEYS=x",
		"preset": "OIDC_PRESET=nobody", "cert": "OIDC_CLIENT_AUTH=tls", "binding": "OIDC_TOKEN_BINDING=mtls",
	} {
		writeFile(t, filepath.Join(dir, name+".env"), text)
	}
	err := run(t.Context(), []string{"-providers", dir}, func(string) string { return "" }, io.Discard, io.Discard)
	for _, want := range []string{
		`name.env: "OIDC_ISUER" is not an option`, `line.env: the line of "OIDC_ISSUER"`, "value.env: OIDC_USERINFO", "other.env: SESSION_KEYS is not",
		"preset.env: OIDC_PRESET", "cert.env: rp: OIDC_CLIENT_CERT", "binding.env: rp: OIDC_CLIENT_CERT",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got the error %v, want %q in it", err, want)
		}
	}
}

func TestOptionsWinOverAPreset(t *testing.T) {
	o, err := readOptions([]string{"-oidc-issuer", "https://id.example", "-oidc-preset", "unikname"}, func(string) string { return "" }, io.Discard)
	if err != nil || o.provider.Issuer != "https://id.example" || o.provider.Claims.Unwrap != "attributes" {
		t.Errorf("got %+v, %v", o.provider, err)
	}
}

// account returns the account of the signed-in user.
func (w *world) account() accountAnswer {
	w.Helper()
	a := w.get("/account")
	var answer accountAnswer
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil || a.StatusCode != http.StatusOK {
		w.Fatalf("/account: %d %q: %v", a.StatusCode, a.body, err)
	}
	return answer
}

func TestAUserHasTwoIdentities(t *testing.T) {
	dir := t.TempDir()
	w := start(t, map[string]string{"PROVIDERS": dir, "LINK": "true"})
	w.wants(w.get("/account"), http.StatusUnauthorized, "not signed in")
	w.addFile(dir, "second")
	w.readAgain(http.StatusOK)
	w.get("/auth/login?provider=.&return_to=/app")
	before := w.account()
	w.wants(w.do(w.link(before.Links["second"])), http.StatusOK, `"sub":"bea"`)
	w.wants(w.get("/me"), http.StatusOK, `"sub":"ann"`)

	w.browser.Jar = start(t, nil).browser.Jar // of somebody else
	w.get("/auth/login?provider=second&return_to=/app")
	w.wants(w.get("/me"), http.StatusOK, `"sub":"bea"`)
	if got := w.account(); got.Number != before.Number || len(got.Identities) != 2 {
		t.Errorf("with the second identity the account is %+v, before it was %+v", got, before)
	}
	w.op.SetUser(oidcgatetest.User{Subject: "cid"})
	w.get("/auth/login?provider=.&return_to=/app")
	cid := w.account()
	if cid.Number == before.Number {
		t.Errorf("cid has the account of ann: %+v", cid)
	}
	w.wants(w.do(w.link(cid.Links["second"])), http.StatusForbidden, "belongs to another account")
	if got := w.account(); len(got.Identities) != 1 {
		t.Errorf("after a refusal cid's account is %+v", got)
	}
}

// link returns the request of a browser that follows a link of this site.
func (w *world) link(address string) *http.Request {
	w.Helper()
	r := w.request(http.MethodGet, "")
	var err error
	if r.URL, err = r.URL.Parse(address); err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept", "text/html")
	return r
}
