package page

import (
	"fmt"
	"strings"
	"testing"

	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/site"
)

// TestAccents holds that texts on any accent can be read (WCAG 2.2, 1.4.3), and that buttons differ
// from what is behind them (1.4.11).
func TestAccents(t *testing.T) {
	for _, accent := range []string{
		"#000000", "#ffffff", "#ffcc00", "#1d4ed8", "#767676", "#7f7f7f", "#00ff00", "#ff0000", "#1c222b", "#AbCdEf",
	} {
		for _, card := range []string{cardLight, cardDark} {
			var on, edge string
			css := colours(accent, card)
			if _, err := fmt.Sscanf(strings.ReplaceAll(strings.ReplaceAll(css, ";", " "), ":", ": "),
				"--accent: "+accent+" --on-accent: %s --edge: %s", &on, &edge); err != nil {
				t.Fatalf("%s: %v", css, err)
			}
			if c := contrast(accent, on); c < 4.5 {
				t.Errorf("%s on %s: %.2f", on, accent, c)
			}
			if c := contrast(edge, card); c < 3 {
				t.Errorf("the edge %s of %s on %s: %.2f", edge, accent, card, c)
			}
		}
	}
	for _, pair := range []struct {
		a, b string
		want float64
	}{{"#000000", "#ffffff", 21}, {"#ffffff", "#767676", 4.54}, {"#ff0000", "#ffffff", 4.0}} {
		if got := contrast(pair.a, pair.b); got < pair.want-0.01 || got > pair.want+0.01 {
			t.Errorf("contrast of %s and %s: %.2f, want %.2f", pair.a, pair.b, got, pair.want)
		}
	}
}

// TestStyleOfThePages holds that page.css has the colours that the code knows.
func TestStyleOfThePages(t *testing.T) {
	for _, want := range []string{"--accent:" + defaultAccent, "--card:#fff;", "--card:" + cardDark} {
		if !strings.Contains(style, want) {
			t.Errorf("page.css has no %s", want)
		}
	}
	var f check.List
	plain := Compile(&f, Options{}, &site.Site{})
	if len(f) > 0 || string(plain.look.Style) != style {
		t.Errorf("without options the style is not that of page.css: %v\n%s", f, plain.look.Style)
	}
}
