package registration

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
	"github.com/oidcgate/oidcgate/internal/op"
)

// Error is an answer in which the provider refuses (RFC 7591, section 3.2.2; RFC 7592, section 2).
type Error struct {
	Status int // the HTTP status

	// Code is "invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement",
	// "unapproved_software_statement", "invalid_token" or "insufficient_scope", "other" for any other,
	// and "" if the answer has none.
	Code string

	// Description is the provider's, for the log: short, and without the secrets of the request.
	Description string
}

var codes = []string{
	"invalid_redirect_uri", "invalid_client_metadata", "invalid_software_statement",
	"unapproved_software_statement", "invalid_token", "insufficient_scope",
}

// maxDescription is how much of a description is kept, in bytes.
const maxDescription = 200

func (e *Error) Error() string {
	text := fmt.Sprintf("the provider answers with status %d", e.Status)
	if e.Code != "" {
		text += " and the error " + e.Code
	}
	if e.Description != "" {
		text += ": " + strconv.QuoteToASCII(e.Description)
	}
	return text
}

// newError returns what an answer says. A description that quotes a secret is left out.
func newError(a op.Answer, secrets ...string) *Error {
	e := &Error{Status: a.Status}
	doc, err := claims.Parse(a.Body)
	if err != nil {
		return e
	}
	e.Code, _ = text(doc, "error")
	if e.Code != "" && !slices.Contains(codes, e.Code) {
		e.Code = "other"
	}
	e.Description, _ = text(doc, "error_description")
	for _, secret := range secrets {
		if secret != "" && strings.Contains(e.Description, secret) {
			e.Description = ""
		}
	}
	if len(e.Description) > maxDescription {
		e.Description = strings.ToValidUTF8(e.Description[:maxDescription], "")
	}
	return e
}

// fail says what was being done.
func fail(doing string, err error) error { return fmt.Errorf("registration: %s: %w", doing, err) }
