package oidcgate_test

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
)

// What the Foundation's suite does in every module, each alone.
func TestConformanceFacts(t *testing.T) {
	// each runs a login in which the provider does one thing more.
	each := func(name string, act func(*suite), changes ...change) {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSuite(t, oidcgatetest.Config{}, changes...)
				act(s)
				s.accepted(s.arrive(s.response("/app")))
				s.asked(loginCalls["code"])
			})
		})
	}
	for _, method := range []oidcgatetest.AuthMethod{
		oidcgatetest.ClientSecretBasic, oidcgatetest.ClientSecretPost, oidcgatetest.ClientSecretJWT, oidcgatetest.NoClientSecret,
	} {
		auth := map[oidcgatetest.AuthMethod]oidcgate.ClientAuth{
			oidcgatetest.ClientSecretBasic: oidcgate.ClientSecretBasic(suiteSecret), oidcgatetest.ClientSecretPost: oidcgate.ClientSecretPost(suiteSecret),
			oidcgatetest.ClientSecretJWT: oidcgate.ClientSecretJWT(suiteSecret), oidcgatetest.NoClientSecret: oidcgate.PublicClient(),
		}[method]
		each("C049 an id and a secret of punctuation by "+string(method), func(s *suite) {
			c := oidcgatetest.Client{ID: suiteClient, Secret: suiteSecret, AuthMethod: method, RedirectURLs: []string{shopURL + "/auth/callback"}}
			s.op.AddClient(c)
			s.metadata["token_endpoint_auth_methods_supported"] = []string{string(method)}
		}, func(_ *oidcgate.Config, p *oidcgate.Provider) { p.Auth = auth })
	}
	for _, character := range strings.Split(suiteClient, "")[4:] {
		each("C049 an id and a secret with "+character, func(s *suite) {
			id, password := character+"shop"+character, character+"s"+character+"t"+character
			s.op.AddClient(oidcgatetest.Client{ID: id, Secret: password, RedirectURLs: []string{shopURL + "/auth/callback"}})
		}, func(_ *oidcgate.Config, p *oidcgate.Provider) {
			p.ClientID = character + "shop" + character
			p.Auth = oidcgate.ClientSecretBasic(func(context.Context) (string, error) { // a string may not end in a space
				return character + "s" + character + "t" + character, nil
			})
		})
	}
	for _, which := range []string{"first", "last"} {
		each("C011 C013 the "+which+" of two RSA keys without alg signs, among keys that cannot", func(s *suite) {
			rsa := slices.DeleteFunc(s.op.PublicKeys().Keys, func(k jose.JSONWebKey) bool { return k.Algorithm != "RS256" })
			if which == "last" {
				return
			}
			if kid := s.op.NewJWT(nil).Header["kid"]; len(rsa) != 2 || rsa[1].KeyID != kid {
				s.Fatalf("the keys %v, signed with %v", rsa, kid)
			}
			// The signer is the newest key: let the one before it be published after it.
			s.op.Always(oidcgatetest.JWKS, oidcgatetest.EditJSON(func(m map[string]any) {
				list := m["keys"].([]any)
				slices.Reverse(list)
				m["keys"] = suiteKeys(s.T, list)
			}))
		})
	}
	each("response types in any order, and a list of algorithms with none", func(s *suite) {
		s.metadata["response_types_supported"] = []string{"token id_token code", "id_token code", "code"}
	})
	each("C019 no list of PKCE methods is no reason to leave PKCE out", func(s *suite) {
		s.op.Inject(oidcgatetest.Authorization, oidcgatetest.Edit(func(r *oidcgatetest.Response) {
			if q := s.op.LastRequest(oidcgatetest.Authorization).Form; q.Get("code_challenge_method") != "S256" || r.Status >= 400 {
				s.Errorf("sent %v", q)
			}
		}))
	})
	each("C131 bearer in any letters", func(s *suite) {
		s.op.Always(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["token_type"] = "bEARER" }))
	})
	t.Run("C058 the issuer is compared with the slash at its end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSuite(t, oidcgatetest.Config{})
			s.op.NextIDToken(func(t *oidcgatetest.JWT) { t.Claims["iss"] = strings.TrimSuffix(suiteIssuer, "/") })
			s.refused(s.arrive(s.response("/app")), 502, "iss_claim")
			s.asked("openid-configuration authorize token jwks")
		})
	})
	t.Run("C051 the code, the verifier and the redirect URI are sent once, as they were announced", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSuite(t, oidcgatetest.Config{})
			seen := map[string]bool{}
			for range 3 {
				s.browser = s.newSuiteBrowser()
				s.accepted(s.arrive(s.response("/app")))
				form := s.op.LastRequest(oidcgatetest.Token).Form
				if seen[form.Get("code_verifier")] || !secret256.MatchString(form.Get("code_verifier")) || form.Get("redirect_uri") != shopURL+"/auth/callback" {
					t.Errorf("sent %v after %v", form, seen)
				}
				seen[form.Get("code_verifier")] = true
			}
			s.tokenCalls(3)
		})
	})
	t.Run("a session lives for an hour, and the provider hears nothing more of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSuite(t, oidcgatetest.Config{})
			s.accepted(s.arrive(s.response("/app")))
			for range 12 {
				time.Sleep(5 * time.Minute)
				if got := s.get("/app").StatusCode; got != 200 {
					t.Errorf("/app: status %d", got)
				}
			}
			s.asked(loginCalls["code"])
		})
	})
	t.Run("C036 a callback without its login begins no other", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := newSuite(t, oidcgatetest.Config{})
			q := url.Values{"code": {"x"}, "state": {"y"}}
			s.refused(s.get("/auth/callback?"+q.Encode()), 400, oidcgate.ReasonUnknownState)
			s.asked("")
		})
	})
}
