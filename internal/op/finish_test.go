package op_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// login is one login that comes back from the provider.
type login struct {
	op     *testOP
	query  string
	refuse error // what the claim fails with

	claims int // how often it was claimed
}

func (l *login) finish(t *testing.T, c *op.Client) (*op.Result, error) {
	t.Helper()
	response, err := c.ReadResponse(t.Context(), l.query)
	if err != nil {
		return nil, err
	}
	return c.Finish(t.Context(), response, op.Expectation{
		Nonce:        nonce,
		CodeVerifier: "hush-verifier",
		Claim: func(context.Context) error {
			l.claims++
			if n := l.op.count("token"); n != 0 {
				t.Errorf("C030 the code was sent %d times before the claim", n)
			}
			return l.refuse
		},
	})
}

// mustEnd finishes the login at a new client and checks where it ends: with reason at stage, or
// in order if reason is empty.
func (l *login) mustEnd(t *testing.T, reason string, stage op.Stage) *op.Error {
	t.Helper()
	if reason == "" {
		l.op.answerLogin()
	}
	before := l.claims
	result, err := l.finish(t, l.op.client())
	e := wantReason(t, err, reason)
	if (result == nil) != (err != nil) {
		t.Errorf("result %+v beside error %v", result, err)
	}
	if e != nil && e.Stage != stage {
		t.Errorf("%v at stage %d, want %d", err, e.Stage, stage)
	}
	claimed, sent := l.claims-before, l.op.count("token")
	if goesOut := e == nil || stage == op.StageClaimed; !goesOut && claimed+sent != 0 {
		t.Errorf("claimed %d times, sent the code %d times, want neither", claimed, sent)
	} else if goesOut && claimed != 1 {
		t.Errorf("claimed %d times, want once", claimed)
	}
	l.op.forget()
	return e
}

// answerLogin makes the provider answer a login in order.
func (o *testOP) answerLogin() {
	o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": goodToken()})))
}

// forget sets all counts to zero.
func (o *testOP) forget() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.calls)
}

func TestFinish(t *testing.T) {
	o := newOP()
	o.answerLogin()
	o.set("userinfo", answerJSON(userinfo(nil)))
	l := &login{op: o, query: goodResponse(nil)}
	result, err := l.finish(t, o.client(func(cfg *op.Config) { cfg.Userinfo = op.UserinfoOptional }))
	wantReason(t, err, "")
	if result.Tokens.AccessToken != "at-1" || result.Tokens.IDToken == "" {
		t.Errorf("tokens %+v", result.Tokens)
	}
	if v, _ := result.IDToken.Get("email"); string(v.AppendJSON(nil)) != `"jane@example.org"` {
		t.Errorf("the ID Token says %s", result.IDToken.AppendJSON(nil))
	}
	if got := string(result.Userinfo.AppendJSON(nil)); got != `{"name":"Jane Doe"}` {
		t.Errorf("userinfo says %s", got)
	}
	if l.claims != 1 || o.count("token") != 1 {
		t.Errorf("claimed %d times, sent the code %d times", l.claims, o.count("token"))
	}
}

func TestFinishFailsAfterTheClaim(t *testing.T) {
	info := map[string]any{"sub": subject + "1"}
	for _, tt := range []struct {
		name   string
		token  http.HandlerFunc
		reason string
	}{
		{"the token endpoint breaks", abort, "token_endpoint_unreachable"},
		{"C054 the code is refused", answerText(400, "application/json", `{"error":"invalid_grant"}`),
			"token_endpoint_error"},
		{"C054 a code that looks like one of the authorization response",
			answerText(400, "application/json", `{"error":"login_required"}`), "token_endpoint_error"},
		{"C053 no ID Token", answerJSON(tokenAnswer(map[string]any{"id_token": nil})),
			"id_token_missing"},
		{"C065 the ID Token of another login", answerJSON(tokenAnswer(map[string]any{
			"id_token": signed(goodHeader, encode(identity(map[string]any{"nonce": "other"}))),
		})), "nonce"},
		{"C057 the ID Token of another access token", answerJSON(tokenAnswer(map[string]any{
			"id_token": signed(goodHeader, encode(identity(map[string]any{
				"at_hash": halfHash("at-2"),
			}))),
		})), "at_hash"},
		{"C075 the userinfo of another user", answerJSON(tokenAnswer(map[string]any{
			"id_token": goodToken(),
		})), "userinfo_sub"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("token", tt.token)
			o.set("userinfo", answerJSON(userinfo(info)))
			l := &login{op: o, query: goodResponse(nil)}
			c := o.client(func(cfg *op.Config) { cfg.Userinfo = op.UserinfoOptional })
			result, err := l.finish(t, c)
			e := wantReason(t, err, tt.reason)
			if e.Stage != op.StageClaimed || e.NeedsInteraction() || !isUseless(result) {
				t.Errorf("stage %d, interaction %v, result %v", e.Stage, e.NeedsInteraction(), result)
			}
			if l.claims != 1 || o.count("token") != 1 {
				t.Errorf("claimed %d times, sent the code %d times", l.claims, o.count("token"))
			}
		})
	}
}

func TestFinishReturnsTheErrorOfTheClaim(t *testing.T) {
	o := newOP()
	l := &login{op: o, query: goodResponse(nil), refuse: errors.New("claimed by another")}
	if _, err := l.finish(t, o.client()); err != l.refuse {
		t.Errorf("C030 got %v, want the error as it is", err)
	}
	if n := o.count("token"); n != 0 {
		t.Errorf("C030 the code was sent %d times", n)
	}
}

func TestFinishMayBeTriedAgain(t *testing.T) {
	t.Run("F01 after the provider was down", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := newOP()
			o.answerLogin()
			o.set("discovery", abort)
			c := o.client()
			l := &login{op: o, query: goodResponse(nil)}
			_, err := l.finish(t, c)
			if e := wantReason(t, err, "provider_unreachable"); e.Stage != op.StageBefore {
				t.Errorf("stage %d", e.Stage)
			}
			o.set("discovery", answerJSON(metadata(nil)))
			time.Sleep(time.Minute)
			_, err = l.finish(t, c)
			wantReason(t, err, "")
		})
	})
	t.Run("F04 after the provider was busy", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := newOP()
			o.answerLogin()
			c := o.client()
			var releases []func()
			for range 64 {
				release, err := c.Acquire(t.Context())
				wantReason(t, err, "")
				releases = append(releases, release)
			}
			l := &login{op: o, query: goodResponse(nil)}
			_, err := l.finish(t, c)
			if e := wantReason(t, err, "provider_busy"); e.Stage != op.StageBefore || l.claims != 0 {
				t.Errorf("stage %d after %d claims", e.Stage, l.claims)
			}
			releases[0]()
			_, err = l.finish(t, c)
			wantReason(t, err, "")
			release, err := c.Acquire(t.Context()) // Finish has given its slot back
			wantReason(t, err, "")
			release()
		})
	})
	t.Run("F04 a response that is refused waits for nobody", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := newOP()
			c := o.client()
			if _, err := c.Metadata(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 64 {
				_, err := c.Acquire(t.Context())
				wantReason(t, err, "")
			}
			start := time.Now()
			l := &login{op: o, query: goodResponse(map[string]string{"code": ""})}
			_, err := l.finish(t, c)
			wantReason(t, err, "response_invalid")
			if waited := time.Since(start); waited != 0 {
				t.Errorf("waited %v by the bubble's clock", waited)
			}
		})
	})
}

// isUseless reports whether a result has nothing but tokens, and whose they are if that was verified.
func isUseless(r *op.Result) bool { return r == nil || r.Userinfo == "" }
