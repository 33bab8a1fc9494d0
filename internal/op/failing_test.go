package op_test

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

// brokenSigner is a key service that does not answer.
type brokenSigner struct{ crypto.Signer }

// Sign implements [crypto.Signer].
func (brokenSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the key service is away")
}

func TestKeyServiceThatFails(t *testing.T) {
	broken := op.ClientKey{Private: brokenSigner{ecKey()}}
	for name, use := range map[string]func(*op.Client) error{
		"C099 no request is sent that is not signed": func(c *op.Client) error {
			address, err := c.AuthorizationURL(t.Context(), aLogin())
			if address != "" {
				t.Errorf("the browser goes to %q", address)
			}
			return err
		},
		"C090 no code is sent without the assertion": func(c *op.Client) error {
			_, err := c.Exchange(t.Context(), "c", "v")
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			err := use(o.client(signing(op.ObjectSigned, broken), func(cfg *op.Config) { cfg.Auth = op.Auth{Method: op.AuthKeyJWT} }))
			e := wantReason(t, err, "client_secret")
			if e.Status != http.StatusServiceUnavailable || e.Hint == "" || !strings.Contains(err.Error(), "the key service is away") {
				t.Errorf("status %d, hint %q, %v", e.Status, e.Hint, err)
			}
			if n := o.count("token"); n != 0 {
				t.Errorf("%d requests", n)
			}
		})
	}
	t.Run("C050 no code is sent without the secret that signs the assertion", func(t *testing.T) {
		o := newOP()
		c := o.client(func(cfg *op.Config) {
			cfg.Auth = op.Auth{Method: op.AuthSecretJWT, Secret: func(context.Context) (string, error) { return "", errors.New("no such file") }}
		})
		_, err := c.Exchange(t.Context(), "c", "v")
		wantReason(t, err, "client_secret")
		if n := o.count("token"); n != 0 || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("%d requests, %v", n, err)
		}
	})
	t.Run("C090 a client without keys has an empty set", func(t *testing.T) {
		text, err := newOP().client().PublicKeys(t.Context())
		if err != nil || string(text) != `{"keys":[]}` {
			t.Errorf("%s, %v", text, err)
		}
	})
}

func TestKeysForAnEncryptedRequestCannotBeLoaded(t *testing.T) {
	t.Run("C099 no request is sent that is not encrypted", func(t *testing.T) {
		o := newOP()
		o.set("jwks", abort)
		address, err := o.client(signing(op.ObjectEncrypted, clientKey)).AuthorizationURL(t.Context(), aFreshLogin())
		e := wantReason(t, err, "jwks_unavailable")
		if address != "" || !strings.HasPrefix(e.Hint, "check whether this host reaches") {
			t.Errorf("the browser goes to %q, hint %q", address, e.Hint)
		}
	})
}

func TestRequestToAResourceWithAKeyThatIsNone(t *testing.T) {
	t.Run("C092 a bound token is not presented without its proof", func(t *testing.T) {
		r, err := http.NewRequest(http.MethodGet, "https://api.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := newOP().client().Present(r, "at-1", new(op.DPoPKey)); err == nil {
			t.Error("no error")
		}
	})
}

func TestUserinfoWithAKeyThatIsNone(t *testing.T) {
	t.Run("C092 the access token is not sent without its proof", func(t *testing.T) {
		o := newOP()
		o.set("userinfo", answerJSON(userinfo(nil)))
		c := o.client(func(cfg *op.Config) { cfg.Userinfo, cfg.DPoP = op.UserinfoRequired, true })
		_, err := c.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1", DPoPKey: "EdDSA:!!"},
			claims.Object("").With("sub", claims.Text(subject)), false)
		if n := o.count("userinfo"); err == nil || n != 0 {
			t.Errorf("%d requests, error %v", n, err)
		}
	})
	t.Run("C092 nor to further addresses", func(t *testing.T) {
		called := false
		c := newOP().client(func(cfg *op.Config) {
			cfg.Further = func(context.Context, claims.Object, claims.Object, op.Send) (claims.Object, error) {
				called = true
				return "", nil
			}
		})
		_, err := c.RereadUserinfo(t.Context(), &op.Tokens{AccessToken: "at-1", DPoPKey: "EdDSA:!!"},
			claims.Object("").With("sub", claims.Text(subject)), false)
		if err == nil || called {
			t.Errorf("error %v, the function is called: %v", err, called)
		}
	})
}

func TestProviderWithoutIDTokensCannotSayWhoItIs(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"C075 the connection breaks": abort, "C075 the access token is refused": answerText(401, "text/plain", ""), "C075 status 500": answerText(500, "text/plain", ""),
	} {
		t.Run(name, func(t *testing.T) {
			o := newOP()
			o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": nil})))
			o.set("userinfo", h)
			l := &login{op: o, query: goodResponse(map[string]string{"iss": ""})}
			result, err := l.finish(t, o.client(func(cfg *op.Config) {
				cfg.SubjectClaim, cfg.Userinfo = "id", op.UserinfoRequired
				cfg.Endpoints = op.Endpoints{
					Authorization: "https://id.example/authorize", Token: "https://id.example/token", Userinfo: "https://id.example/userinfo",
				}
			}))
			var e *op.Error
			if !errors.As(err, &e) || !isUseless(result) || e.Stage != op.StageClaimed || !strings.HasPrefix(string(e.Reason), "userinfo_") {
				t.Errorf("result %v, error %v", result, err)
			}
		})
	}
}

func TestEmptyFurtherOrigin(t *testing.T) {
	t.Run("C075 Claims.FurtherOrigins", func(t *testing.T) {
		cfg := newOP().config(func(cfg *op.Config) { cfg.FurtherOrigins = []string{"https://api.example", ""} })
		if faults := cfg.Faults(); len(faults) != 1 || faults[0].Field != "Claims.FurtherOrigins" || !strings.Contains(faults[0].Text, "empty") {
			t.Errorf("faults %v, want one of an empty element", faults)
		}
	})
}

func TestWhatPrintsNothing(t *testing.T) {
	key, err := op.ParseDPoPKey("EdDSA:" + b64(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]any{
		"tokens":            op.Tokens{AccessToken: "hush-at", RefreshToken: "hush-rt", IDToken: "eyJ"},
		"the client's key":  op.ClientKey{Private: ecKey()},
		"the key of tokens": key,
	} {
		t.Run("C055 "+name, func(t *testing.T) {
			if got := fmt.Sprintf("%v %+v %#v %s", v, v, v, v); got != "REDACTED REDACTED REDACTED REDACTED" {
				t.Errorf("prints %s", got)
			}
			if v == any(key) {
				return // all its fields are unexported
			}
			if text, err := json.Marshal(v); err != nil || string(text) != `"REDACTED"` {
				t.Errorf("as JSON: %s, %v", text, err)
			}
		})
	}
}

func TestTextOfAnError(t *testing.T) {
	cause := errors.New("no answer in time")
	for want, e := range map[string]*op.Error{
		"provider: x":                       {Reason: "x"},
		"provider: x (y)":                   {Reason: "x", Code: "y"},
		"provider: x: no answer in time":    {Reason: "x", Err: cause},
		"provider: x, at https://a.example": {Reason: "x", Address: "https://a.example"},
		`provider: x: "z"`:                  {Reason: "x", Description: "z"},
		`provider: x (y): no answer in time, at https://a: "z"`: {Reason: "x", Code: "y", Err: cause, Address: "https://a", Description: "z"},
	} {
		t.Run(want, func(t *testing.T) {
			if got := e.Error(); got != want {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestFurtherClaimsThatFail(t *testing.T) {
	t.Run("C075 a login whose further claims cannot be had is refused", func(t *testing.T) {
		o := newOP()
		o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": goodToken()})))
		l := &login{op: o, query: goodResponse(nil)}
		result, err := l.finish(t, o.client(func(cfg *op.Config) {
			cfg.Further = func(context.Context, claims.Object, claims.Object, op.Send) (claims.Object, error) {
				return "", errors.New("the other address is away")
			}
		}))
		e := wantReason(t, err, "userinfo_error")
		if !isUseless(result) || e.Stage != op.StageClaimed || !strings.Contains(e.Hint, "Claims.Further") {
			t.Errorf("result %v, stage %d, hint %q", result, e.Stage, e.Hint)
		}
	})
	inBubble(t, "F34 C075 one whose Further does not return is refused in time, and frees its place", func(t *testing.T) {
		o := newOP()
		o.set("token", answerJSON(tokenAnswer(map[string]any{"id_token": goodToken()})))
		l := &login{op: o, query: goodResponse(nil)}
		begun := time.Now()
		_, err := l.finish(t, o.client(func(cfg *op.Config) {
			cfg.Further = func(context.Context, claims.Object, claims.Object, op.Send) (claims.Object, error) {
				time.Sleep(time.Hour)
				return "", nil
			}
		}))
		wantReason(t, err, "userinfo_error")
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		time.Sleep(2 * time.Hour)
	})
}

func TestSecretThatDoesNotReturn(t *testing.T) {
	for name, fault := range map[string]func(){
		"does not return":    func() { time.Sleep(time.Hour) },
		"panics":             func() { panic("the application's fault") },
		"ends its goroutine": runtime.Goexit,
	} {
		inBubble(t, "F34 a function that "+name+" fails the request in time", func(t *testing.T) {
			o := newOP()
			c := o.client(func(cfg *op.Config) {
				cfg.Auth = basic("hush-hush")
				cfg.Auth.Secret = func(context.Context) (string, error) { fault(); return "hush-hush", nil }
			})
			begun := time.Now()
			_, err := c.Exchange(t.Context(), "hush-code", "hush-verifier")
			wantReason(t, err, "client_secret")
			if took := time.Since(begun); took > time.Minute {
				t.Errorf("it took %v", took)
			}
			time.Sleep(2 * time.Hour)
		})
	}
}
