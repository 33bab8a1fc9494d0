package devpage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxValue is how many bytes of one value are shown.
const maxValue = 4 << 10

// secretMembers are members of claims that hold what is not shown: a source of distributed claims
// comes with an access token (OpenID Connect Core, section 5.6.2).
var secretMembers = []string{
	"access_token", "refresh_token", "id_token", "client_secret", "password",
}

// pretty returns JSON as people read it, or "" if it is none: in one line if it has at most so many
// characters. Numbers stay as they are.
func pretty(text []byte, line int) string {
	var v any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return ""
	}
	v = withoutSecrets(v)
	out := written(v, "")
	if len(out) > line {
		out = written(v, "  ")
	}
	return visible(out)
}

func written(v any, indent string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // the template escapes
	e.SetIndent("", indent)
	if e.Encode(v) != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func withoutSecrets(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for name, inner := range v {
			v[name] = withoutSecrets(inner)
			if slices.Contains(secretMembers, strings.ToLower(name)) {
				v[name] = "(not shown)"
			}
		}
	case []any:
		for i, inner := range v {
			v[i] = withoutSecrets(inner)
		}
	}
	return v
}

// visible writes characters that cannot be seen as numbers: some change the direction of the text
// round them. It shortens what is too long to be read.
func visible(s string) string {
	var b strings.Builder
	for _, c := range s {
		if b.Len() > maxValue {
			b.WriteString("…")
			break
		}
		if c != '\n' && unicode.In(c, unicode.C, unicode.Zl, unicode.Zp) {
			fmt.Fprintf(&b, "\\u{%04X}", c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// clock returns a time of day, with the date unless it is today.
func clock(t, now time.Time) string {
	t = t.Local()
	if t.Format(time.DateOnly) == now.Local().Format(time.DateOnly) {
		return t.Format("15:04:05")
	}
	return t.Format("2 Jan 2006, 15:04:05")
}

// lasting returns a duration in one or two units.
func lasting(d time.Duration) string {
	switch d = d.Round(time.Second); {
	case d < 100*time.Second:
		return fmt.Sprintf("%d s", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%d min", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}
