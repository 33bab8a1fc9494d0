package op_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

func TestReadResponse(t *testing.T) {
	const state = "state=st"
	for _, tt := range []struct{ name, query, reason string }{
		{"a code", "state=st&code=c&iss=i", ""},
		{"an error", "state=st&error=access_denied", ""},
		{"nothing", "", ""},
		{"C035 parameters that nobody knows twice", "state=st&x=1&x=2", ""},
		{"C033 two states", "state=st&state=s", "duplicate_parameter"},
		{"C033 two codes", state + "&code=c&code=d", "duplicate_parameter"},
		{"C033 an empty second code", state + "&code=c&code=", "duplicate_parameter"},
		{"C033 two issuers", state + "&iss=i&iss=j", "duplicate_parameter"},
		{"C033 two errors", state + "&error=e&error=f", "duplicate_parameter"},
		{"C033 two ID Tokens", state + "&id_token=e&id_token=f", "duplicate_parameter"},
		{"C033 equal values are one value", "state=st&state=st&error=e&error=e", ""},
		{"C033 three values of which two are equal", state + "&code=c&code=d&code=c", "duplicate_parameter"},
		{"C035 a code with NUL", state + "&code=a%00b", "response_invalid"},
		{"C035 a code with a line break", state + "&code=a%0ab", "response_invalid"},
		{"C035 a code with DEL", state + "&code=a%7fb", "response_invalid"},
		{"C035 a code that is no ASCII", state + "&code=%c3%a9", "response_invalid"},
		{"C035 a code with all that it may have", state + "&code=%20!%22%25%7e", ""},
		{"C035 a code of 4 KB", state + "&code=" + strings.Repeat("c", 4<<10), ""},
		{"C035 a code longer than 4 KB", state + "&code=" + strings.Repeat("c", 4<<10+1),
			"response_invalid"},
		{"C035 a response longer than 16 KB", state + "&x=" + strings.Repeat("c", 16<<10),
			"response_invalid"},
		{"no query", "state=%zz", "response_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			response, err := newOP().client().ReadResponse(t.Context(), tt.query)
			e := wantReason(t, err, tt.reason)
			if e != nil && (e.Status != http.StatusBadRequest || e.Stage != op.StageResponse) {
				t.Errorf("status %d at stage %d", e.Status, e.Stage)
			}
			if e == nil && strings.Contains(tt.query, "state=") && response.State != "st" {
				t.Errorf("state %q", response.State)
			}
			if e != nil && response != (op.Response{}) {
				t.Errorf("response %+v beside an error", response)
			}
		})
	}
}

// announced is a provider whose metadata says whether its responses carry iss.
func announced(iss bool) *testOP {
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{
		"authorization_response_iss_parameter_supported": iss,
	})))
	return o
}

// goodResponse is the query of a good response with some parameters changed; an empty one is
// left out.
func goodResponse(changes map[string]string) string {
	query := url.Values{"state": {"st"}, "code": {"hush-code"}, "iss": {issuer}}
	for name, value := range changes {
		query.Set(name, value)
		if value == "" {
			query.Del(name)
		}
	}
	return query.Encode()
}

func TestResponseIssuer(t *testing.T) {
	for _, tt := range []struct {
		name       string
		advertised bool
		iss        string
		present    bool
		reason     string
	}{
		{"C031 the issuer, as advertised", true, issuer, true, ""},
		{"C031 the issuer, though not advertised", false, issuer, true, ""},
		{"C031 absent, as not advertised", false, "", false, ""},
		{"C031 absent, though advertised", true, "", false, "iss_missing"},
		{"C031 another issuer", true, "https://evil.example", true, "iss_mismatch"},
		{"C031 another issuer, not advertised", false, "https://evil.example", true, "iss_mismatch"},
		{"C031 present and empty", false, "", true, "iss_mismatch"},
		{"C031 a slash more", true, issuer + "/", true, "iss_mismatch"},
		{"C031 another case", true, strings.ToUpper(issuer), true, "iss_mismatch"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			query := goodResponse(map[string]string{"iss": ""})
			if tt.present {
				query += "&iss=" + url.QueryEscape(tt.iss)
			}
			l := &login{op: announced(tt.advertised), query: query}
			l.mustEnd(t, tt.reason, op.StageResponse)
			l.op.set("token", nil)
			l.query = strings.Replace(query, "code=hush-code", "error=access_denied", 1)
			if tt.reason == "" {
				l.mustEnd(t, "op_error:access_denied", op.StageResponse)
			} else {
				l.mustEnd(t, tt.reason, op.StageResponse) // good news or bad
			}
		})
	}
	t.Run("C031 absent while nothing is known of the provider", func(t *testing.T) {
		l := &login{op: newOP(), query: goodResponse(map[string]string{"iss": ""})}
		l.op.set("discovery", abort)
		l.mustEnd(t, "provider_unreachable", op.StageBefore)
	})
}

func TestResponseShape(t *testing.T) {
	const evil = "https://evil.example"
	for _, tt := range []struct {
		name    string
		changes map[string]string
		reason  string
		status  int
		asks    bool // the provider has to ask the user
	}{
		{"C037 a code and an error", map[string]string{"error": "login_required"},
			"response_invalid", 400, false},
		{"C037 a response object", map[string]string{"response": "e30.e30."},
			"response_invalid", 400, false},
		{"C037 a code and an access token", map[string]string{"access_token": "x"},
			"response_invalid", 400, false},
		{"C037 an ID Token and an error",
			map[string]string{"code": "", "id_token": "e30", "error": "login_required"},
			"response_invalid", 400, false},
		{"C037 neither a code nor an error", map[string]string{"code": ""},
			"response_invalid", 400, false},
		{"C031 tokens from another provider", map[string]string{"id_token": "e30", "iss": evil},
			"iss_mismatch", 400, false},
		{"C031 login_required from another provider",
			map[string]string{"code": "", "error": "login_required", "iss": evil},
			"iss_mismatch", 400, false},
		{"C036 access_denied", map[string]string{"code": "", "error": "access_denied"},
			"op_error:access_denied", 403, false},
		{"C036 login_required", map[string]string{"code": "", "error": "login_required"},
			"op_error:login_required", 403, true},
		{"C036 interaction_required", map[string]string{"code": "", "error": "interaction_required"},
			"op_error:interaction_required", 403, true},
		{"C036 consent_required", map[string]string{"code": "", "error": "consent_required"},
			"op_error:consent_required", 403, true},
		{"C036 account_selection_required",
			map[string]string{"code": "", "error": "account_selection_required"},
			"op_error:account_selection_required", 403, true},
		{"C036 temporarily_unavailable",
			map[string]string{"code": "", "error": "temporarily_unavailable"},
			"op_error:temporarily_unavailable", 503, false},
		{"C036 server_error", map[string]string{"code": "", "error": "server_error"},
			"op_error:server_error", 502, false},
		{"C036 an error nobody registered", map[string]string{"code": "", "error": "hush://x?y"},
			"op_error:other", 502, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := &login{op: announced(true), query: goodResponse(tt.changes)}
			e := l.mustEnd(t, tt.reason, op.StageResponse)
			if e.Status != tt.status || e.NeedsInteraction() != tt.asks {
				t.Errorf("status %d and interaction %v, want %d and %v",
					e.Status, e.NeedsInteraction(), tt.status, tt.asks)
			}
			code, isError := strings.CutPrefix(tt.reason, "op_error:")
			if !isError {
				code = ""
			}
			if e.Code != code || (e.Hint != "") != isError {
				t.Errorf("code %q, hint %q", e.Code, e.Hint)
			}
		})
	}
}

func TestDescriptionOfAnError(t *testing.T) {
	t.Run("C036 of the provider's words only visible ASCII is shown", func(t *testing.T) {
		l := &login{op: announced(false), query: "state=st&error=access_denied&error_description=" + url.QueryEscape("na\u00efve\x7f~ \x1f!")}
		_, err := l.finish(t, l.op.client())
		e, ok := errors.AsType[*op.Error](err)
		if want := "na?ve?~ ?!"; !ok || e.Description != want {
			t.Errorf("error %v, want the description %q", err, want)
		}
	})
}

func TestResponseObjectThatIsNone(t *testing.T) {
	c := newOP().client(func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" })
	for name, object := range map[string]string{
		"two parts": "a.b", "four parts": "a.e30.c.d", "a payload that is no base64url": "a.!!.c", "a payload that is no JSON": "a." + b64("hi") + ".c",
		"a payload that is a list": "a." + b64("[]") + ".c", "nothing": "",
	} {
		t.Run("C041 "+name, func(t *testing.T) {
			response, err := c.ReadResponse(t.Context(), url.Values{"response": {object}}.Encode())
			e := wantReason(t, err, "response_invalid")
			if e.Status != http.StatusBadRequest || e.Stage != op.StageResponse || response != (op.Response{}) {
				t.Errorf("status %d at stage %d, response %+v", e.Status, e.Stage, response)
			}
		})
	}
}

func TestResponseObjectMembers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		changes map[string]any
		reason  string
	}{
		{"a null member is an absent one", map[string]any{"error": null, "iss_of_nobody": null}, ""},
		{"a code that is a number", map[string]any{"code": 7}, "response_invalid"},
		{"a state that is a number", map[string]any{"state": 7}, "response_invalid"},
		{"an error that is an object", map[string]any{"error": struct{}{}}, "response_invalid"},
	} {
		t.Run("C041 "+tt.name, func(t *testing.T) {
			object := signed(goodHeader, encode(changed(map[string]any{
				"iss": issuer, "aud": clientID, "exp": time.Now().Add(time.Minute).Unix(), "state": "st", "code": "hush-code",
			}, tt.changes)))
			l := &login{op: newOP(), query: url.Values{"response": {object}}.Encode()}
			l.op.answerLogin()
			_, err := l.finish(t, l.op.client(func(cfg *op.Config) { cfg.ResponseMode = "query.jwt" }))
			wantReason(t, err, tt.reason)
		})
	}
}
