package page

import (
	"cmp"
	"html/template"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/site"
)

// look is what the application chose for the looks of the pages. It was checked: nothing in it can
// be more than a name, an address or a colour.
type look struct {
	Name  string
	Logo  template.URL // "": there is none
	Style template.CSS

	imageSource string // of the logo, for the Content-Security-Policy
}

// Colours of page.css: the accent, and the backgrounds on which it is seen.
const (
	defaultAccent = "#1d4ed8"

	cardLight = "#ffffff"
	cardDark  = "#1c222b"
)

const (
	maxName = 100      // characters
	maxLogo = 32 << 10 // bytes of a logo that stands in the page
)

func compileLook(f *check.List, o *Options, s *site.Site) look {
	l := look{Name: o.Name, Style: template.CSS(style)}
	if n := utf8.RuneCountInString(o.Name); n > maxName {
		f.Add("Name", "has %d characters; use at most %d", n, maxName)
	}
	if !utf8.ValidString(o.Name) || strings.ContainsFunc(o.Name, unicode.IsControl) {
		f.Add("Name", "%.80q has characters that cannot be shown; leave them out", o.Name)
	}
	l.completeLogo(f, o.Logo, s)
	if checkAccents(f, o) {
		light := cmp.Or(o.Accent, defaultAccent)
		dark := cmp.Or(o.AccentDark, light)
		l.Style += template.CSS("\n:root{" + colours(light, cardLight) + "}" +
			"\n@media(prefers-color-scheme:dark){:root{" + colours(dark, cardDark) + "}}")
	}
	return l
}

var (
	inlineImage = regexp.MustCompile(
		`^data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}$`)
	// plainPath matches the paths that a Content-Security-Policy can name as they are: ";" and ","
	// would end a part of it.
	plainPath = regexp.MustCompile(`^(/[A-Za-z0-9._~%@:=+-]+)+$`)
)

// completeLogo checks the logo. One of another site is refused: the address of a page of the
// callback has code and state, so such a page loads nothing from elsewhere (RFC 9700, section
// 4.2.4).
func (l *look) completeLogo(f *check.List, logo string, s *site.Site) {
	switch {
	case logo == "":
		return
	case plainPath.MatchString(logo):
		l.imageSource = s.URL(logo) // the policy names the logo alone
		l.Logo = template.URL(l.imageSource)
	case !inlineImage.MatchString(logo):
		f.Add("Logo", "%.80q is neither a path of this site nor an image; write a path of letters, "+
			"digits, dots and dashes such as \"/logo.svg\", or data:image/png;base64,...", logo)
	case len(logo) > maxLogo:
		f.Add("Logo", "has %d bytes, and every page would have them; use at most %d, or serve it "+
			"and write its path", len(logo), maxLogo)
	default:
		l.Logo, l.imageSource = template.URL(logo), "data:"
	}
}

var colour = regexp.MustCompile(`^#[0-9A-Fa-f]{6}$`)

// checkAccents reports whether there are colours of the application, and all are colours.
func checkAccents(f *check.List, o *Options) bool {
	ok := true
	for _, a := range []struct{ field, value string }{
		{"Accent", o.Accent}, {"AccentDark", o.AccentDark},
	} {
		if a.value != "" && !colour.MatchString(a.value) {
			f.Add(a.field, "%.40q is no colour; write six hexadecimal digits such as \"#1d4ed8\"", a.value)
			ok = false
		}
	}
	return ok && o.Accent+o.AccentDark != ""
}

// colours returns the declarations for an accent on a card: the colour of texts on it is the one
// that can be read better, and where it differs little from the card, buttons get an edge (WCAG
// 2.2, 1.4.3 and 1.4.11).
func colours(accent, card string) string {
	on, edge := "#ffffff", accent
	if contrast(accent, "#000000") > contrast(accent, on) {
		on = "#000000"
	}
	if contrast(accent, card) < 3 {
		edge = "#808a98"
	}
	return "--accent:" + accent + ";--on-accent:" + on + ";--edge:" + edge
}

// contrast returns the contrast ratio of two colours, from 1 to 21 (WCAG 2.2).
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

func luminance(colour string) float64 {
	n, _ := strconv.ParseUint(colour[1:], 16, 32) // it was checked
	part := func(v uint64) float64 {
		c := float64(v&0xff) / 255
		if c <= 0.04045 {
			return c / 12.92
		}
		return math.Pow((c+0.055)/1.055, 2.4)
	}
	return 0.2126*part(n>>16) + 0.7152*part(n>>8) + 0.0722*part(n)
}
