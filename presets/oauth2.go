package presets

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/oidcgate/oidcgate"
)

// GitHub is for accounts of github.com. GitHub issues no ID Tokens: see [oidcgate.OAuth2].
//
// The key of a user is "id", a number; the login name can be given to somebody else. The e-mail
// addresses are at another address, for the scope user:email: the primary one becomes "email", with
// "email_verified" (docs.github.com/rest/users/emails). Since April 2026 responses have
// "iss=https://github.com/login/oauth", which is therefore the issuer. Tokens of OAuth apps do not
// expire.
func GitHub(clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: "https://github.com/login/oauth", ClientID: clientID, Auth: auth,
		Scopes:        []string{"read:user", "user:email"},
		Authorization: "https://github.com/login/oauth/authorize",
		Token:         "https://github.com/login/oauth/access_token",
		Userinfo:      "https://api.github.com/user",
		SubjectClaim:  "id",
	})
	p.Label = "GitHub"
	p.Claims.Further = gitHubEmail("https://api.github.com")
	p.Claims.FurtherOrigins = []string{"https://api.github.com"}
	return p
}

// gitHubEmail reads the primary address.
func gitHubEmail(
	api string,
) func(context.Context, *oidcgate.Identity, *http.Client) (map[string]any, error) {
	return func(
		ctx context.Context, _ *oidcgate.Identity, client *http.Client,
	) (map[string]any, error) {
		var list []struct {
			Email    string `json:"email"`
			Primary  bool   `json:"primary"`
			Verified bool   `json:"verified"`
		}
		if err := get(ctx, client, api+"/user/emails", &list); err != nil {
			return nil, err
		}
		for _, e := range list {
			if e.Primary {
				return map[string]any{"email": e.Email, "email_verified": e.Verified}, nil
			}
		}
		return map[string]any{"email": nil, "email_verified": false}, nil
	}
}

// maxAnswer is how many bytes an answer may have.
const maxAnswer = 1 << 20

// get reads a JSON answer.
func get(ctx context.Context, client *http.Client, address string, into any) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %d", address, resp.StatusCode)
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(into)
}

// Discord is for accounts of Discord. ID Tokens are not in common use there: see [oidcgate.OAuth2].
// The key of a user is "id". "verified" says whether the e-mail address is
// (discord.com/developers/docs/resources/user). To revoke one token ends the whole authorization.
func Discord(clientID string, auth oidcgate.ClientAuth) oidcgate.Provider {
	p := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: "https://discord.com", ClientID: clientID, Auth: auth,
		Scopes:        []string{"identify", "email"},
		Authorization: "https://discord.com/oauth2/authorize",
		Token:         "https://discord.com/api/oauth2/token",
		Userinfo:      "https://discord.com/api/users/@me",
		SubjectClaim:  "id",
	})
	p.Label = "Discord"
	p.Claims.EmailVerified = "verified"
	return p
}

// Slack is for accounts of Slack, with "Sign in with Slack". Failures come with status 200 and
// "ok": false (docs.slack.dev/authentication/sign-in-with-slack). The team is in the claim
// "https://slack.com/team_id". Refresh tokens come for applications with token rotation. Slack has
// no logout for others (unconfirmed).
func Slack(clientID string, secret oidcgate.ClientAuth) oidcgate.Provider {
	p := standard("Slack", "https://slack.com", clientID, secret)
	p.TokenRequest.LenientAnswers = true
	p.Userinfo = oidcgate.UserinfoOptional
	p.Logout.Style = oidcgate.LogoutOff
	return p
}

// LinkedIn is for accounts of LinkedIn, with "Sign In with LinkedIn using OpenID Connect".
//
// LinkedIn refuses PKCE ("code_verifier") for most applications, and does not return the nonce
// (learn.microsoft.com/linkedin/consumer/integrations/self-serve/sign-in-with-linkedin-v2). So its
// ID Token protects nothing, and the user is who userinfo says: see [oidcgate.OAuth2]. State and
// the login's cookie protect against CSRF. Nothing protects against a stolen code: whoever has one
// that was not used yet can log in as its user (RFC 9700, section 2.1.1). It takes the secret in
// the body only. It has no logout and, for most applications, no refresh tokens.
func LinkedIn(clientID string, secret oidcgate.ClientAuth) oidcgate.Provider {
	p := oidcgate.OAuth2(oidcgate.OAuth2Options{
		Issuer: "https://www.linkedin.com/oauth", ClientID: clientID, Auth: secret,
		Scopes:        []string{"openid", "profile", "email"},
		Authorization: "https://www.linkedin.com/oauth/v2/authorization",
		Token:         "https://www.linkedin.com/oauth/v2/accessToken",
		Userinfo:      "https://api.linkedin.com/v2/userinfo",
	})
	p.Label = "LinkedIn"
	p.Request.WithoutPKCE = true
	return p
}
