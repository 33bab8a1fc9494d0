package op

import (
	"context"
	"net/http"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/event"
)

// Userinfo returns what the userinfo endpoint says of the user whom a verified
// ID Token names as subject (OpenID Connect Core, 5.3), without the claims that
// only an ID Token may state. Call it after the ID Token is verified.
//
// In mode On an endpoint that gives no answer, or one that is no userinfo
// response, costs the login these claims and no more: a Notice tells. An answer
// about somebody else, or one that is not signed as was agreed, is an error in
// every mode. In mode Off nothing is asked.
func (c *Client) Userinfo(ctx context.Context, accessToken, subject string) (claims.Object, error) {
	return c.askUserinfo(ctx, accessToken, subject, c.cfg.Userinfo == UserinfoRequired)
}

// RereadUserinfo is Userinfo for somebody who has claims from an earlier time. No answer is an error in mode
// On, too: it must not be taken for the answer that there is nothing to say any more.
func (c *Client) RereadUserinfo(ctx context.Context, accessToken, subject string) (claims.Object, error) {
	meta, known := c.Known()
	there := !known || meta.Userinfo != ""
	return c.askUserinfo(ctx, accessToken, subject, there || c.cfg.Userinfo == UserinfoRequired)
}

func (c *Client) askUserinfo(ctx context.Context, accessToken, subject string, required bool) (claims.Object, error) {
	if c.cfg.Userinfo == UserinfoOff {
		return "", nil
	}
	a, err := c.fetchUserinfo(ctx, accessToken)
	if err != nil {
		e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
		if required {
			return "", e
		}
		c.cfg.Notify(Notice{Event: event.UserinfoFailed, Reason: e.Reason, Err: e})
		return "", nil
	}
	info, err := c.readUserinfo(ctx, a)
	if err != nil {
		return "", err
	}
	// Userinfo is bound to the login by nothing but this: the access token may
	// have been swapped for another user's (Core, 5.3.2, 16.11).
	if got := text(info, "sub"); subject == "" || got != subject {
		return "", invalid(event.ReasonUserinfoSubject, "the userinfo response is about another user")
	}
	return info.Filter(mayComeFromUserinfo), nil
}

// fetchUserinfo sends the access token in a header, never in a URL, which would
// end in logs (RFC 6750, 5.3).
func (c *Client) fetchUserinfo(ctx context.Context, accessToken string) (answer, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return answer{}, err
	}
	if meta.Userinfo == "" {
		return answer{}, refused("the provider has no userinfo endpoint")
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta.Userinfo, nil)
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Authorization", "Bearer "+accessToken)
	req.Header.Set("Accept", "application/json, application/jwt")
	var got answer
	resp, err := c.client(tokenLimit, func(a answer) ([]byte, error) {
		got = a
		if a.status == http.StatusOK && !hasMediaType(a.header, "application/json", "application/jwt") {
			return nil, refused("the answer is neither application/json nor application/jwt")
		}
		return onlyOK(a)
	}).Do(req)
	if err != nil {
		return answer{}, err
	}
	return got, resp.Body.Close()
}

func (c *Client) readUserinfo(ctx context.Context, a answer) (claims.Object, error) {
	if hasMediaType(a.header, "application/jwt") {
		return c.readSignedUserinfo(ctx, string(a.body))
	}
	if c.cfg.UserinfoSigned {
		return "", invalid(event.ReasonUserinfoError, "the userinfo response is not signed, as it was agreed to be")
	}
	info, err := claims.Parse(a.body)
	if err != nil {
		return "", &Error{Reason: event.ReasonUserinfoError, Status: http.StatusBadGateway, Err: err}
	}
	return info, nil
}

// readSignedUserinfo reads a signed response. It must name this provider and
// this client alone, or any token the provider ever signed for anybody would do
// (Core, 5.3.2).
func (c *Client) readSignedUserinfo(ctx context.Context, raw string) (claims.Object, error) {
	token, err := parseCompact(raw, c.cfg.SigningAlgs)
	if err != nil {
		return "", userinfoError(err)
	}
	payload, err := c.verify(ctx, token)
	if err != nil {
		return "", userinfoError(err)
	}
	info, err := claims.Parse(payload)
	if err != nil {
		return "", userinfoError(err)
	}
	if err := c.checkParties(info); err != nil {
		return "", userinfoError(err)
	}
	return info, nil
}

// userinfoError keeps the cause and the status of err under the reason that
// userinfo has.
func userinfoError(err error) *Error {
	e := failure(err, event.ReasonUserinfoError, event.ReasonUserinfoError)
	return &Error{Reason: event.ReasonUserinfoError, Status: e.Status, Hint: e.Hint, Err: e}
}

// mayComeFromUserinfo reports whether a claim is one that userinfo may add.
// Who the user is, how and when they logged in, and for whom, stands in the ID
// Token alone.
func mayComeFromUserinfo(name string) bool {
	switch name {
	case "iss", "aud", "sub", "sid", "nonce", "auth_time", "acr", "amr", "azp",
		"exp", "iat", "nbf", "jti", "at_hash", "c_hash", "events":
		return false
	}
	return true
}
