package session

import (
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/claims"
)

// lookDepth is how deep [Identity.About] looks into claims.
const lookDepth = 3

// maxNames is how many names [Identity.About] lists.
const maxNames = 12

// About reports whether there is a claim, and says for the log why a rule that wants a string, or a
// list of them, may have found none. It repeats no value. Of names it repeats those of claims, and
// of members those that are called as the rule says: others may be names of roles or of people.
func (id *Identity) About(claim string) (isThere bool, more string) {
	v, ok := id.Claim(claim)
	if !ok {
		return false, id.instead(claim)
	}
	return true, form(v)
}

// instead says what there is in place of a claim that an identity does not have: a claim or a
// member of one, as a JSON Pointer, that is called as the last part of the name, or else the names
// of the claims that there are.
func (id *Identity) instead(claim string) string {
	last := claim[strings.LastIndexAny(claim, "/.")+1:]
	var found, names []string
	for _, source := range id.Sources() {
		found = called(found, source, "", last)
		names = namesOf(names, source)
	}
	slices.Sort(found)
	switch found = slices.Compact(found); {
	case len(found) > 0:
		return "; found " + list(found)
	case len(names) > 0:
		return "; the claims are " + list(names)
	}
	return ""
}

// form says why a value can be none of the strings that a rule wants, or "" if it can.
func form(v claims.Value) string {
	s, isString := v.Str()
	switch {
	case isString && strings.ContainsAny(s, " ,"):
		return "; it is one string with spaces or commas, and only Match can take it apart"
	case isString, slices.ContainsFunc(slices.Collect(v.Elements()), isText):
		return ""
	}
	return "; it is " + kinds[v.Kind()]
}

var kinds = map[claims.Kind]string{
	claims.Null: "null", claims.Bool: "a boolean", claims.Number: "a number",
	claims.Array:   "a list without strings",
	claims.Members: "an object: name a member of it, as \"/realm_access/roles\" does",
}

func isText(v claims.Value) bool { return v.Kind() == claims.String }

// below returns the JSON Pointer of a member of what another points to.
func below(pointer, name string) string {
	return pointer + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// called appends where in an object there are members of a name, whatever its case.
func called(found []string, o claims.Object, within, name string) []string {
	for member, v := range o.All() {
		if len(found) > maxNames {
			return found
		}
		if strings.Contains(member, "@") {
			continue
		}
		if strings.EqualFold(member, name) {
			found = append(found, below(within, member))
		}
		if inner, ok := v.Object(); ok && strings.Count(within, "/") < lookDepth-1 {
			found = called(found, inner, below(within, member), name)
		}
	}
	return found
}

// namesOf appends the names of claims that a rule may look at, as many as a log line shows.
func namesOf(names []string, o claims.Object) []string {
	for name := range o.All() {
		if len(names) > maxNames {
			return names
		}
		if !claims.IsProtocol(name) && !strings.Contains(name, "@") && !slices.Contains(names, name) {
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
