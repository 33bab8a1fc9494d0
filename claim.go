package oidcgate

import (
	"encoding/json"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// ClaimString returns a claim that is a string. The claim is a name, compared byte for byte, or a
// JSON Pointer (RFC 6901) when it begins with "/": "/address/locality". What [Login.Set] set comes
// first, then the ID Token, then userinfo, as for the rule [Claim]. Only the first of them that has
// the claim is read. If its value has another type, or the pointer finds nothing in it, the result
// is false; the next source is not tried.
//
// It returns "" and false when there is no such claim and when it is not a string; an empty string
// is "" and true. It does not allocate memory.
func (id *Identity) ClaimString(claim string) (string, bool) {
	v, _ := id.record().Claim(claim)
	return v.Str()
}

// ClaimStrings returns a claim that is a list of strings, in the order of the list: "groups", or
// "/realm_access/roles". The claim is found as by [Identity.ClaimString]. A single string is a list
// of one, as some providers write it ("aud" in RFC 7519, section 4.1.3). Elements that are not
// strings are left out. The rule [Claim] therefore allows a user exactly when one of these strings
// is one of its values.
//
// It returns nil and false when there is no such claim and when it is neither a list nor a string;
// an empty list is not nil, and true. The slice belongs to the caller.
func (id *Identity) ClaimStrings(claim string) ([]string, bool) {
	v, _ := id.record().Claim(claim)
	if s, ok := v.Str(); ok {
		return []string{s}, true
	}
	if v.Kind() != claims.Array {
		return nil, false
	}
	return append([]string{}, v.Strings()...), true
}

// ClaimBool returns a claim that is a boolean. The claim is found as by [Identity.ClaimString]. It
// returns false and false when there is no such claim and when it is not a boolean, such as the
// string "true". The first result is the value; the second says whether there is a boolean.
func (id *Identity) ClaimBool(claim string) (value, ok bool) {
	v, _ := id.record().Claim(claim)
	return v.Bool()
}

// ClaimNumber returns a claim that is a number, with the digits that the provider sent: a number of
// more than 53 bits stays exact. The claim is found as by [Identity.ClaimString]. It returns "" and
// false when there is no such claim and when it is not a number, such as a string of digits.
func (id *Identity) ClaimNumber(claim string) (json.Number, bool) {
	v, _ := id.record().Claim(claim)
	text, ok := v.Number()
	return json.Number(text), ok
}

// ClaimTime returns a claim that is a NumericDate, a number of seconds since 1970 (RFC 7519,
// section 2), in UTC: "updated_at" (OpenID Connect Core, section 5.1). The claim is found as by
// [Identity.ClaimString]. It returns the zero time and false when there is no such claim and when
// it is not a number from 1970 to the end of the year 9999.
func (id *Identity) ClaimTime(claim string) (time.Time, bool) {
	v, _ := id.record().Claim(claim)
	return v.Time()
}

// ClaimJSON returns a claim of any kind as JSON: "address" (OpenID Connect Core, section 5.1.1).
// The claim is found as by [Identity.ClaimString]. It returns nil and false when there is no such
// claim; a claim that is null is "null" and true. The bytes belong to the caller.
//
// Claims that other parties state, "_claim_names" and "_claim_sources", are as the provider sent
// them (OpenID Connect Core, section 5.6.2). Nothing in them is verified, and no address in them is
// asked: a JWT there is signed by another party, whose keys the application has to know.
//
// json.Unmarshal of an object compares the names in it without regard to case. [Identity.Decode]
// compares them exactly.
func (id *Identity) ClaimJSON(claim string) (json.RawMessage, bool) {
	v, ok := id.record().Claim(claim)
	if !ok {
		return nil, false
	}
	return v.AppendJSON(nil), true
}

// Decode stores the claims in v, a pointer to a struct or to a map, as json.Unmarshal would, and
// with its errors. If several sources have a claim, it stores that of [Login.Set], else the ID
// Token's, else userinfo's, as a whole.
//
// Unlike json.Unmarshal it compares names byte for byte, at every depth: a claim "Groups" is not
// stored in a field with the tag "groups", so that a user who can add a claim "Groups" at the
// provider cannot overwrite "groups". Give each field a tag with the name of its claim: the claim
// "groups" is not stored in a field Groups without a tag. Types with their own UnmarshalJSON decide
// for themselves.
//
// A claim that is absent leaves its field as it was: decode into a zero value. Decode takes a few
// microseconds and builds JSON only of the claims that v has fields for. For a single claim use
// [Identity.ClaimString] and the other methods for one claim, which parse nothing.
func (id *Identity) Decode(v any) error {
	sources := id.record().Sources()
	return claims.Decode(v, sources[:]...)
}
