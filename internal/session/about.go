package session

import (
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// lookDepth is how deep [Identity.About] looks into claims.
const lookDepth = 4

// maxNames is how many names [Identity.About] lists.
const maxNames = 12

// About reports whether there is a claim, and says for the log why a rule that wants a string, or a
// list of them, may have found none. It repeats no value.
func (id *Identity) About(claim string) (isThere bool, more string) {
	v, ok := id.Claim(claim)
	if !ok {
		return false, id.instead(claim)
	}
	return true, form(v)
}

// instead says what there is in place of a claim that an identity does not have: a claim
// or a member of one, as a JSON Pointer, that is called as the last part of the name, or else the
// names beside it.
func (id *Identity) instead(claim string) string {
	last := claim[strings.LastIndexAny(claim, "/.")+1:]
	var found []string
	for _, source := range id.Sources() {
		found = called(found, source, "", last)
	}
	slices.Sort(found)
	if found = slices.Compact(found); len(found) > 0 {
		return "; found " + list(found)
	}
	parent, names := claim, []string(nil)
	for strings.HasPrefix(parent, "/") && len(names) == 0 {
		parent = parent[:strings.LastIndexByte(parent, '/')]
		v, _ := id.Claim(parent)
		o, _ := v.Object()
		names = namesOf(names, o)
	}
	if len(names) > 0 {
		return "; " + parent + " has " + list(names)
	}
	for _, source := range id.Sources() {
		names = namesOf(names, source)
	}
	if len(names) > 0 {
		return "; the claims are " + list(names)
	}
	return ""
}

// form says why a value can be none of the strings that a rule wants, or "" if it can.
func form(v claims.Value) string {
	s, isString := v.Str()
	switch {
	case isString && strings.ContainsAny(s, " ,"):
		return "; it is one string with spaces or commas"
	case isString, slices.ContainsFunc(slices.Collect(v.Elements()), isText):
		return ""
	}
	return "; it is " + kinds[v.Kind()]
}

var kinds = map[claims.Kind]string{
	claims.Null: "null", claims.Bool: "a boolean", claims.Number: "a number",
	claims.Array: "a list without strings", claims.Members: "an object",
}

func isText(v claims.Value) bool { return v.Kind() == claims.String }

// called appends where in an object there are members of a name, whatever its case.
func called(found []string, o claims.Object, within, name string) []string {
	for member, v := range o.All() {
		at := within + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(member)
		if strings.EqualFold(member, name) {
			found = append(found, at)
		}
		if inner, ok := v.Object(); ok && strings.Count(at, "/") < lookDepth {
			found = called(found, inner, at, name)
		}
	}
	return found
}

// namesOf appends the names of members that a rule may look at.
func namesOf(names []string, o claims.Object) []string {
	for name := range o.All() {
		if !claims.IsProtocol(name) && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func list(names []string) string {
	more := ""
	if len(names) > maxNames {
		names, more = names[:maxNames], ", ..."
	}
	return strings.Join(names, ", ") + more
}
