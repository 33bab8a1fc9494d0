package op_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

const requestURI = "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c"

// pushing returns a provider that takes pushed requests, and the forms and headers that it got.
func pushing(members map[string]any) (*testOP, *[]*http.Request) {
	o, got := newOP(), new([]*http.Request)
	var mu sync.Mutex
	o.set("discovery", answerJSON(changed(metadata(map[string]any{
		"pushed_authorization_request_endpoint": "https://id.example/par",
		"authorization_endpoint":                "https://id.example/authorize?p=b2c",
	}), members)))
	o.set("par", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			panic(err)
		}
		mu.Lock()
		*got = append(*got, r)
		mu.Unlock()
		answerText(201, "application/json", encode(map[string]any{"request_uri": requestURI, "expires_in": 60}))(w, r)
	})
	return o, got
}

func aLogin() op.AuthorizationRequest {
	return op.AuthorizationRequest{State: "hush-state", Nonce: nonce, CodeVerifier: "verifier"}
}

func TestPushedRequest(t *testing.T) {
	o, got := pushing(nil)
	c := o.client()
	for range 2 {
		address, err := c.AuthorizationURL(t.Context(), aLogin())
		wantReason(t, err, "")
		want := "https://id.example/authorize?p=b2c&client_id=shop&request_uri=" + url.QueryEscape(requestURI)
		if address != want {
			t.Errorf("C096 the browser goes to %q, want %q", address, want)
		}
	}
	if len(*got) != 2 {
		t.Fatalf("C097 two logins made %d pushed requests", len(*got))
	}
	r := (*got)[0]
	if id, password, ok := r.BasicAuth(); !ok || id != clientID || password != "hush-hush" {
		t.Error("C096 the client does not authenticate itself")
	}
	for name, want := range map[string]string{
		"client_id": clientID, "response_type": "code", "redirect_uri": "https://app.example/auth/callback",
		"scope": "openid email", "state": "hush-state", "nonce": nonce, "code_challenge_method": "S256",
	} {
		if r.PostForm.Get(name) != want || len(r.PostForm[name]) != 1 {
			t.Errorf("C096 %s is %q, want %q", name, r.PostForm[name], want)
		}
	}
	if len(r.PostForm["code_challenge"]) != 1 || r.PostForm.Has("code_verifier") || r.PostForm.Has("client_secret") {
		t.Errorf("C096 the form is %v", r.PostForm)
	}
}

func TestPushedRequestByPost(t *testing.T) {
	o, got := pushing(nil)
	_, err := o.client(func(cfg *op.Config) { cfg.Auth.Method = op.AuthPost }).AuthorizationURL(t.Context(), aLogin())
	wantReason(t, err, "")
	if form := (*got)[0].PostForm; form.Get("client_secret") != "hush-hush" || len(form["client_id"]) != 1 {
		t.Error("C096 the client does not authenticate itself once")
	}
}

func TestPushedAnswerIsRefused(t *testing.T) {
	answer := func(status int, members map[string]any) http.HandlerFunc {
		good := map[string]any{"request_uri": requestURI, "expires_in": 60}
		return answerText(status, "application/json", encode(changed(good, members)))
	}
	uri := func(s string) http.HandlerFunc { return answer(201, map[string]any{"request_uri": s}) }
	expires := func(v any) http.HandlerFunc { return answer(201, map[string]any{"expires_in": v}) }
	refusal := func(status int, code string) http.HandlerFunc {
		return answerText(status, "application/json", encode(map[string]any{
			"error": code, "error_description": "scope groups, state hush-state and hush-hush are wrong",
		}))
	}
	const invalid, refused, unreachable = "par_response_invalid", "par_error", "par_unreachable"
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		reason string
		status int
		code   string
	}{
		{"C097 200 in place of 201", answer(200, nil), invalid, 502, ""},
		{"C097 a redirect", answer(302, nil), invalid, 502, ""},
		{"C097 no request_uri", answer(201, map[string]any{"request_uri": nil}), invalid, 502, ""},
		{"C097 an empty request_uri", uri(""), invalid, 502, ""},
		{"C097 a request_uri that is no string", answer(201, map[string]any{"request_uri": 7}), invalid, 502, ""},
		{"C097 a request_uri with a line break", uri(requestURI + "\r\nSet-Cookie: a=b"), invalid, 502, ""},
		{"C097 a request_uri with a space", uri(requestURI + " x"), invalid, 502, ""},
		{"C097 a request_uri beyond ASCII", uri(requestURI + "ä"), invalid, 502, ""},
		{"C097 a request_uri of 513 bytes", uri("urn:" + strings.Repeat("a", 509)), invalid, 502, ""},
		{"C097 expires_in zero", expires(0), invalid, 502, ""},
		{"C097 expires_in negative", expires(-1), invalid, 502, ""},
		{"C097 expires_in missing", expires(nil), invalid, 502, ""},
		{"C097 expires_in in words", expires("soon"), invalid, 502, ""},
		{"C097 HTML", answerText(201, "text/html", "<h1>hi</h1>"), invalid, 502, ""},
		{"C097 JSON by another type", answerText(201, "text/plain", encode(map[string]any{"request_uri": requestURI, "expires_in": 60})), invalid, 502, ""},
		{"C098 the provider refuses the request", refusal(400, "invalid_request"), refused, 502, "invalid_request"},
		{"C098 the provider refuses a resource", refusal(400, "invalid_target"), refused, 502, "invalid_target"},
		{"C098 the provider refuses the client", refusal(401, "invalid_client"), refused, 502, "invalid_client"},
		{"C098 the provider refuses the client with another code", refusal(401, "invalid_request"), refused, 502, "invalid_client"},
		{"C098 the provider refuses with a code of its own", refusal(400, "hush"), refused, 502, "other"},
		{"C098 the provider refuses with a code of the token endpoint", refusal(400, "unsupported_grant_type"), refused, 502, "unsupported_grant_type"},
		{"C098 the provider refuses with the status 201", refusal(201, "invalid_request"), refused, 502, "invalid_request"},
		{"C098 the provider has too many requests", answerText(429, "", ""), refused, 503, ""},
		{"C098 the endpoint is broken", answerText(500, "", ""), refused, 503, ""},
		{"C098 the endpoint is gone", answerText(404, "", ""), refused, 502, ""},
		{"C098 the connection breaks", abort, unreachable, 502, ""},
		{"C098 the endpoint hangs", hang, unreachable, 504, ""},
	} {
		inBubble(t, tt.name, func(t *testing.T) {
			o, _ := pushing(nil)
			o.set("par", tt.answer)
			address, err := o.client().AuthorizationURL(t.Context(), aLogin())
			e := wantReason(t, err, tt.reason)
			if e.Status != tt.status || e.Code != tt.code || address != "" {
				t.Errorf("status %d, code %q, address %q; want %d, %q and none", e.Status, e.Code, address, tt.status, tt.code)
			}
			if tt.code != "" && (e.Hint == "" || !strings.Contains(e.Description, "scope groups")) {
				t.Errorf("hint %q and description %q", e.Hint, e.Description)
			}
			if n := o.count("par"); n != 1 {
				t.Errorf("%d requests, want one", n)
			}
		})
	}
	t.Run("C097 an error that is null is none", func(t *testing.T) {
		o, _ := pushing(nil)
		o.set("par", answer(201, map[string]any{"error": null}))
		_, err := o.client().AuthorizationURL(t.Context(), aLogin())
		wantReason(t, err, "")
	})
	for code, hint := range map[string]string{
		"unsupported_grant_type": "the provider refuses the authorization request", "hush": "check client id, secret",
	} {
		t.Run("C098 the hint for "+code, func(t *testing.T) {
			o, _ := pushing(nil)
			o.set("par", refusal(400, code))
			_, err := o.client().AuthorizationURL(t.Context(), aLogin())
			if e := wantReason(t, err, refused); !strings.Contains(e.Hint, hint) {
				t.Errorf("hint %q, want one with %q", e.Hint, hint)
			}
		})
	}
	t.Run("C097 a request_uri with a parameter in it", func(t *testing.T) {
		o, _ := pushing(nil)
		o.set("par", uri("urn:a&scope=admin#f"))
		address, err := o.client().AuthorizationURL(t.Context(), aLogin())
		wantReason(t, err, "")
		u, err := url.Parse(address)
		if err != nil || u.Query().Get("request_uri") != "urn:a&scope=admin#f" || u.Query().Has("scope") || u.Fragment != "" {
			t.Errorf("the browser goes to %q", address)
		}
	})
}

func TestPushedModes(t *testing.T) {
	const endpoint, required = "pushed_authorization_request_endpoint", "require_pushed_authorization_requests"
	mode := func(m op.PushedMode) func(*op.Config) { return func(cfg *op.Config) { cfg.Pushed = m } }
	for _, tt := range []struct {
		name    string
		members map[string]any
		change  func(*op.Config)
		reason  string
		pushes  int
	}{
		{"C096 announced", nil, mode(op.PushedIfAnnounced), "", 1},
		{"C096 not announced", map[string]any{endpoint: nil}, mode(op.PushedIfAnnounced), "", 0},
		{"C096 off", nil, mode(op.PushedOff), "", 0},
		{"C098 required here and announced", nil, mode(op.PushedRequired), "", 1},
		{"C098 required here and not announced", map[string]any{endpoint: nil}, mode(op.PushedRequired), "par_mismatch", 0},
		{"C098 required there", map[string]any{required: true}, mode(op.PushedIfAnnounced), "", 1},
		{"C098 required there, without an endpoint", map[string]any{required: true, endpoint: nil}, mode(op.PushedIfAnnounced), "par_mismatch", 0},
		{"C098 required there and off here", map[string]any{required: true}, mode(op.PushedOff), "par_mismatch", 0},
		{"C006 required in a string", map[string]any{required: "true"}, mode(op.PushedIfAnnounced), "metadata_invalid", 0},
		{"C003 an endpoint on http", map[string]any{endpoint: "http://id.example/par"}, mode(op.PushedIfAnnounced), "endpoint_invalid", 0},
		{"C096 an endpoint of the configuration", map[string]any{endpoint: nil}, func(cfg *op.Config) {
			cfg.Pushed, cfg.Endpoints.PushedAuthorization = op.PushedRequired, "https://id.example/par"
		}, "", 1},
		{"C098 all other endpoints of the configuration", nil, func(cfg *op.Config) {
			cfg.Pushed = op.PushedRequired
			cfg.Endpoints = op.Endpoints{Authorization: "https://id.example/a", Token: "https://id.example/t", JWKS: "https://id.example/k"}
		}, "", 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, _ := pushing(tt.members)
			address, err := o.client(tt.change).AuthorizationURL(t.Context(), aLogin())
			wantReason(t, err, tt.reason)
			if n := o.count("par"); n != tt.pushes || (tt.reason != "") != (address == "") {
				t.Errorf("%d pushed requests and the address %q", n, address)
			}
			if tt.reason == "" && strings.Contains(address, "state=") == (tt.pushes > 0) {
				t.Errorf("the browser goes to %q", address)
			}
		})
	}
}

// TestSlowPush is about a provider whose endpoint hangs: the logins that come back go on.
func TestSlowPush(t *testing.T) {
	inBubble(t, "C098 a slow endpoint takes no turn from logins that come back", func(t *testing.T) {
		o, _ := pushing(nil)
		o.set("par", hang)
		c := o.client()
		_, err := c.Metadata(t.Context())
		wantReason(t, err, "")
		var wg sync.WaitGroup
		reasons := make([]string, 70)
		for i := range reasons {
			wg.Go(func() {
				_, err := c.AuthorizationURL(t.Context(), aLogin())
				if e, ok := err.(*op.Error); ok {
					reasons[i] = string(e.Reason)
				}
			})
		}
		synctest.Wait()
		time.Sleep(time.Millisecond)
		release, err := c.Acquire(t.Context())
		wantReason(t, err, "")
		release()
		wg.Wait()
		slices.Sort(reasons)
		if n := o.count("par"); n != 64 || reasons[0] != "par_unreachable" || reasons[64] != "provider_busy" {
			t.Errorf("%d requests of 70 at a time, reasons %v", n, reasons)
		}
	})
}

func TestPushedWithdrawn(t *testing.T) {
	inBubble(t, "C098 an endpoint that is withdrawn later", func(t *testing.T) {
		o, _ := pushing(nil)
		c := o.client()
		_, err := c.Metadata(t.Context())
		wantReason(t, err, "")
		o.set("discovery", answerJSON(metadata(nil)))
		time.Sleep(time.Hour)
		for range 2 {
			address, err := c.AuthorizationURL(t.Context(), aLogin())
			wantReason(t, err, "")
			if !strings.Contains(address, "request_uri=") {
				t.Errorf("the browser goes to %q", address)
			}
			synctest.Wait()
		}
		if got := o.events(); !slices.Contains(got, "provider.downgrade_refused downgrade") {
			t.Errorf("events %v", got)
		}
	})
}
