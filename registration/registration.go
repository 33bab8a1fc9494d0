package registration

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/weburl"
)

// Endpoint returns where a provider registers clients: the registration_endpoint of its discovery
// document (OpenID Connect Discovery 1.0, section 3). It fails if the provider has none.
func Endpoint(ctx context.Context, client *http.Client, issuer string) (string, error) {
	const doing = "asking for the registration endpoint"
	u, err := weburl.Check(issuer, false)
	if err != nil || u.RawQuery != "" || u.ForceQuery {
		return "", fail(doing, errors.New("the issuer is no https URL without a query"))
	}
	address := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	a, err := request{method: http.MethodGet, address: address}.send(ctx, client)
	if err != nil {
		return "", fail(doing, err)
	}
	if a.Status != http.StatusOK {
		return "", fail(doing, newError(a))
	}
	doc, err := claims.Parse(a.Body)
	if err != nil {
		return "", fail(doing, errors.New("the answer is no JSON object in strict form"))
	}
	if said, _ := text(doc, "issuer"); said != issuer {
		return "", fail(doing, errors.New("the document is of another issuer"))
	}
	endpoint, ok := text(doc, "registration_endpoint")
	if !ok || endpoint == "" {
		return "", fail(doing, errors.New("the provider does not register clients: "+
			"its document has no registration_endpoint"))
	}
	at, err := weburl.Check(endpoint, false)
	if err != nil || u.Scheme == "https" && at.Scheme != "https" {
		return "", fail(doing, errors.New("registration_endpoint is no https URL that may be used"))
	}
	return endpoint, nil
}

// Register registers a client at an endpoint (RFC 7591, section 3). initialAccessToken is what the
// provider's operator gave out for that; empty at a provider that registers everybody.
//
// Each call makes a new client, and is not repeated: after an error that is no [Error] there may be
// a client at the provider that nobody knows.
func Register(
	ctx context.Context, client *http.Client, endpoint string, m Metadata, initialAccessToken string,
) (*Client, error) {
	const doing = "registering the client"
	if _, err := weburl.Check(endpoint, false); err != nil {
		return nil, fail(doing, errors.New("the endpoint is no https URL that may be used"))
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fail(doing, err)
	}
	r := request{
		method: http.MethodPost, address: endpoint, token: initialAccessToken, body: body,
	}
	c := &Client{Endpoint: endpoint, Metadata: m}
	if err := r.answered(ctx, client, c, http.StatusCreated, http.StatusOK); err != nil {
		return nil, fail(doing, err)
	}
	return c, nil
}

// Read returns the client as the provider has it now (RFC 7592, section 2.1). Secret and
// AccessToken may be new ones: keep what it returns in place of c.
func Read(ctx context.Context, client *http.Client, c *Client) (*Client, error) {
	return manage(ctx, client, c, request{method: http.MethodGet})
}

// Update replaces all metadata of the client (RFC 7592, section 2.2): what m does not have, the
// provider forgets or chooses. Begin with the Metadata of [Read]. Keep what it returns in place of
// c.
func Update(ctx context.Context, client *http.Client, c *Client, m Metadata) (*Client, error) {
	members := map[string]json.RawMessage{}
	body, err := json.Marshal(m)
	if err == nil {
		err = json.Unmarshal(body, &members)
	}
	if err != nil {
		return nil, fail("updating the client", err)
	}
	for _, name := range append(own[:len(own):len(own)], times...) { // RFC 7592, section 2.2
		delete(members, name)
	}
	members["client_id"], _ = json.Marshal(c.ID) // strings: cannot fail
	if c.Secret != "" {
		members["client_secret"], _ = json.Marshal(c.Secret)
	}
	if body, err = json.Marshal(members); err != nil {
		return nil, fail("updating the client", err)
	}
	sent := *c
	sent.Metadata = m
	return manage(ctx, client, &sent, request{method: http.MethodPut, body: body})
}

// manage sends a request to the address at which a client is managed, and returns the client of the
// answer.
func manage(ctx context.Context, client *http.Client, c *Client, r request) (*Client, error) {
	doing := map[string]string{
		http.MethodGet: "reading the client", http.MethodPut: "updating the client",
	}[r.method]
	address, err := c.configuration()
	if err != nil {
		return nil, fail(doing, err)
	}
	r.address, r.token = address, c.AccessToken
	next := *c
	if err := r.answered(ctx, client, &next, http.StatusOK); err != nil {
		return nil, fail(doing, err)
	}
	return &next, nil
}

// Delete deletes the client at the provider (RFC 7592, section 2.3). Its tokens and codes end with
// it.
func Delete(ctx context.Context, client *http.Client, c *Client) error {
	const doing = "deleting the client"
	address, err := c.configuration()
	if err != nil {
		return fail(doing, err)
	}
	r := request{method: http.MethodDelete, address: address, token: c.AccessToken}
	a, err := r.send(ctx, client)
	if err != nil {
		return fail(doing, err)
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusOK {
		return fail(doing, newError(a, c.AccessToken))
	}
	return nil
}

// request is what is sent to a provider.
type request struct {
	method, address string
	token           string // a bearer token; may be empty
	body            []byte // JSON; may be nil
}

// answered sends the request and takes the client of the answer over, if it has one of the
// statuses.
func (r request) answered(ctx context.Context, client *http.Client, c *Client, good ...int) error {
	a, err := r.send(ctx, client)
	switch {
	case err != nil:
		return err
	case !slices.Contains(good, a.Status):
		return newError(a, r.token, c.Secret)
	case !op.HasMediaType(a.Header, "application/json"):
		return errors.New("the answer is not application/json")
	}
	return c.read(a.Body)
}

func (r request) send(ctx context.Context, client *http.Client) (op.Answer, error) {
	req, err := http.NewRequestWithContext(ctx, r.method, r.address, bytes.NewReader(r.body))
	if err != nil {
		return op.Answer{}, errors.New("the address is no URL")
	}
	req.Header.Set("Accept", "application/json")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	return ask(client, req)
}

// ask makes a request over the transport of client, if it has one, and within its Timeout.
func ask(client *http.Client, req *http.Request) (op.Answer, error) {
	if client == nil {
		return op.Ask(nil, req)
	}
	if client.Timeout > 0 {
		ctx, cancel := context.WithTimeout(req.Context(), client.Timeout)
		defer cancel()
		req = req.WithContext(ctx)
	}
	return op.Ask(client.Transport, req)
}
