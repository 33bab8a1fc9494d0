package oidcgate

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// ClaimString returns a claim that is a string. The claim is a name, compared byte for byte, or a
// JSON Pointer (RFC 6901) when it begins with "/": "/address/locality". What [Login.Set] set comes
// first, then the ID Token, then userinfo, as for the rule [Claim]. The first of them that has the
// claim decides, also when the value there is of another kind or the pointer leads to nothing in
// it.
//
// It returns "" and false when there is no such claim and when it is not a string; an empty string
// is "" and true. It does not allocate memory.
func (id *Identity) ClaimString(claim string) (string, bool) {
	v, _ := id.lookup(claim)
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
	v, _ := id.lookup(claim)
	if s, ok := v.Str(); ok {
		return []string{s}, true
	}
	if v.Kind() != claims.Array {
		return nil, false
	}
	list := texts(v)
	if list == nil {
		list = []string{}
	}
	return list, true
}

// ClaimBool returns a claim that is a boolean. The claim is found as by [Identity.ClaimString]. It
// returns false and false when there is no such claim and when it is not a boolean, such as the
// string "true". The first result is the value of the claim; the second says only that it is there.
func (id *Identity) ClaimBool(claim string) (value, ok bool) {
	v, _ := id.lookup(claim)
	return v.Bool()
}

// ClaimNumber returns a claim that is a number, with the digits that the provider sent: a number of
// more than 53 bits stays exact. The claim is found as by [Identity.ClaimString]. It returns "" and
// false when there is no such claim and when it is not a number, such as a string of digits.
func (id *Identity) ClaimNumber(claim string) (json.Number, bool) {
	v, _ := id.lookup(claim)
	text, ok := v.Number()
	return json.Number(text), ok
}

// ClaimTime returns a claim that is a NumericDate, a number of seconds since 1970 (RFC 7519,
// section 2), in UTC: "updated_at" (OpenID Connect Core, section 5.1). The claim is found as by
// [Identity.ClaimString]. It returns the zero time and false when there is no such claim and when
// it is not a number from 1970 to the end of the year 9999.
func (id *Identity) ClaimTime(claim string) (time.Time, bool) {
	v, _ := id.lookup(claim)
	return v.Time()
}

// ClaimJSON returns a claim of any kind as JSON: "address" (OpenID Connect Core, section 5.1.1).
// The claim is found as by [Identity.ClaimString]. It returns nil and false when there is no such
// claim; a claim that is null is "null" and true. The bytes belong to the caller.
//
// json.Unmarshal of an object compares the names in it without regard to case. [Identity.Decode]
// compares them exactly.
func (id *Identity) ClaimJSON(claim string) (json.RawMessage, bool) {
	v, ok := id.lookup(claim)
	if !ok {
		return nil, false
	}
	return v.AppendJSON(nil), true
}

// Decode stores the claims in v, a pointer to a struct or to a map, as json.Unmarshal would, and
// with its errors. Of the claims of one name it stores the one that [Login.Set] set, or else the ID
// Token's, or else userinfo's, as a whole.
//
// Unlike json.Unmarshal it compares names byte for byte, at every depth: a claim "Groups" is not
// stored in a field with the tag "groups", so that a claim that a user could name at the provider
// replaces no other. Give each field a tag with the name of its claim: the claim "groups" is not
// stored in a field Groups without a tag. Types with their own UnmarshalJSON decide for themselves.
//
// A claim that is absent leaves its field as it was: decode into a zero value. Decode takes a few
// microseconds and builds JSON only of the claims that v has fields for. For a single claim use
// [Identity.ClaimString] and the other methods for one claim, which parse nothing.
func (id *Identity) Decode(v any) error {
	sources := id.sources()
	return claims.Decode(v, sources[:]...)
}

// lookup finds a claim by its name, or by a JSON Pointer when it begins with "/".
func (id *Identity) lookup(claim string) (claims.Value, bool) {
	if strings.HasPrefix(claim, "/") {
		return id.pointer(claim)
	}
	return id.claim(claim)
}

// claim finds a claim by name. The first source that has it decides: userinfo cannot replace what
// the ID Token says (OpenID Connect Core, section 5.3.2).
func (id *Identity) claim(name string) (claims.Value, bool) {
	for _, o := range id.sources() {
		if v, ok := o.Get(name); ok {
			return v, true
		}
	}
	return "", false
}

// pointer finds a value in a claim by a JSON Pointer that begins with "/". As in claim, the first
// source that has the claim decides: userinfo adds no members to a claim of the ID Token.
func (id *Identity) pointer(p string) (claims.Value, bool) {
	top := p
	if i := strings.IndexByte(p[1:], '/'); i >= 0 {
		top = p[:1+i]
	}
	for _, o := range id.sources() {
		if _, ok := o.Pointer(top); ok {
			return o.Pointer(p)
		}
	}
	return "", false
}

// sources returns the claims in their order of precedence.
func (id *Identity) sources() [3]claims.Object {
	return [...]claims.Object{id.record.Application, id.record.IDToken, id.record.Userinfo}
}

// texts returns the strings in an array.
func texts(v claims.Value) []string {
	var out []string
	for e := range v.Elements() {
		if s, ok := e.Str(); ok {
			out = append(out, s)
		}
	}
	return out
}
