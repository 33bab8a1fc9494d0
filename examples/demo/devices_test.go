package main

import (
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/redistest"
)

// another returns a visitor with another browser, for the same demo.
func (v *visitor) another(userAgent string) *visitor {
	jar, _ := cookiejar.New(nil) // without options it cannot fail
	return &visitor{v.T, v.shop, &http.Client{Jar: jar, Transport: named(userAgent)}}
}

// named is a transport that sets the User-Agent.
type named string

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("User-Agent", string(n))
	return http.DefaultTransport.RoundTrip(r)
}

func (v *visitor) post(path string, form url.Values) page {
	v.Helper()
	return v.read(v.browser.PostForm(v.shop+path, form))
}

const (
	onLinux   = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
	onIPhone  = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1"
	onWindows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0"
)

var endButton = regexp.MustCompile(`name="device" value="([^"]+)" aria-label="Log out ([^"]+)"`)

// others returns the ids of the devices that the account page offers to log out, by name.
func others(account page) map[string]string {
	ids := map[string]string{}
	for _, m := range endButton.FindAllStringSubmatch(account.body, -1) {
		ids[m[2]] = m[1]
	}
	return ids
}

func TestC114AVisitorLogsOutHisOtherDevices(t *testing.T) {
	first := visit(t, nil)
	desk, phone, office := first.another(onLinux), first.another(onIPhone), first.another(onWindows)
	if account := desk.choose("/account", "ben"); strings.Contains(account.body, "Log out others") || len(others(account)) != 0 {
		t.Errorf("the only device is offered to be logged out: %s", account.body)
	}
	phone.choose("/account", "ben")
	office.choose("/account", "ben")
	stranger := first.another(onLinux)
	stranger.choose("/account", "ada")

	account := desk.open("/account")
	desk.wants(account, 200, "/account", "Firefox on Linux")
	if strings.Index(account.body, "Firefox on Linux") > strings.Index(account.body, "Edge on Windows") {
		t.Errorf("this device is not the first of the list: %s", account.body)
	}
	desk.wants(account, 200, "/account", "Log out others")
	ids := others(account)
	if len(ids) != 2 || ids["Safari on iPhone"] == "" || ids["Edge on Windows"] == "" {
		t.Fatalf("got other devices %v, want an iPhone and a Windows", ids)
	}
	stranger.wants(stranger.post("/devices/end", url.Values{"device": {ids["Edge on Windows"]}}), 200, "/account", "Ada Lindqvist")
	desk.wants(desk.post("/devices/end", url.Values{"device": {ids["Safari on iPhone"]}}), 200, "/account", "The device is logged out.")
	phone.wants(phone.open("/"), 200, "/", "Tea worth the voyage.")
	office.wants(office.open("/"), 200, "/", "Good to see you, Ben Okafor.")

	desk.wants(desk.post("/devices/end", url.Values{"device": {ids["Safari on iPhone"]}}), 200, "/account", "Edge on Windows")
	desk.wants(desk.post("/devices/end-others", nil), 200, "/account", "Your other devices are logged out.")
	office.wants(office.open("/"), 200, "/", "Tea worth the voyage.")
	stranger.wants(stranger.open("/"), 200, "/", "Good to see you, Ada Lindqvist.")
}

func TestNobodyElseLogsOutDevices(t *testing.T) {
	v := visit(t, nil)
	for _, path := range []string{"/devices/end", "/devices/end-others"} {
		if p := v.post(path, url.Values{"device": {"x"}}); p.status != 401 {
			t.Errorf("%s for a stranger: got %d, want 401", path, p.status)
		}
	}
	desk, phone := v.another(onLinux), v.another(onIPhone)
	desk.choose("/account", "ben")
	phone.choose("/account", "ben")
	r, err := http.NewRequest(http.MethodPost, v.shop+"/devices/end-others", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if p := desk.read(desk.browser.Do(r)); p.status != 403 {
		t.Errorf("a form of another site: got %d, want 403", p.status)
	}
	phone.wants(phone.open("/"), 200, "/", "Good to see you, Ben Okafor.")
}

func TestDevicesWhenTheStoreRefusesWrites(t *testing.T) {
	server := redistest.Start(t)
	v := visit(t, map[string]string{"REDIS_URL": "redis://" + server.Addr})
	desk, phone := v.another(onLinux), v.another(onIPhone)
	desk.choose("/account", "ben")
	phone.choose("/account", "ben")
	ids := others(desk.open("/account"))
	if err := server.Client(nil).Do(t.Context(), "REPLICAOF", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	desk.wants(desk.post("/devices/end", url.Values{"device": {ids["Safari on iPhone"]}}), 503, "/devices/end", "One moment")
	desk.wants(desk.post("/devices/end-others", nil), 503, "/devices/end-others", "One moment")
	phone.wants(phone.open("/"), 200, "/", "Good to see you, Ben Okafor.")
}

func TestDevicesHaveNames(t *testing.T) {
	for userAgent, want := range map[string]string{
		onLinux:   "Firefox on Linux",
		onIPhone:  "Safari on iPhone",
		onWindows: "Edge on Windows",
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15":         "Safari on macOS",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36":               "Chrome on Android",
		"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36":                "Chrome on ChromeOS",
		"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 OPR/122.0.0.0":           "Opera on Linux",
		"Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0 Mobile/15E148 Safari/604.1": "Chrome on iPad",
		"curl/8.14.1": "Unknown browser",
		"":            "Unknown browser",
	} {
		if got := deviceName(userAgent); got != want {
			t.Errorf("%q: got %s, want %s", userAgent, got, want)
		}
	}
}
