// Command picture draws dashboard.json with example data, for docs/metrics.md:
//
//	go run ./internal/picture >../docs/metrics.svg
//
// It is no Grafana: it shows which panels there are and what stands in them.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"html"
	"io"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strings"
)

// dashboard is what is drawn of a dashboard of Grafana.
type dashboard struct {
	Title  string
	Panels []panel
}

type panel struct {
	Title   string
	Type    string // "stat" or "timeseries"
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		Expr         string
		LegendFormat string
	}
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct{ Stacking struct{ Mode string } }
		}
	}
}

func main() {
	if err := run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(w io.Writer) error {
	text, err := os.ReadFile("dashboard.json")
	if err != nil {
		return err
	}
	d, err := parse(text)
	if err != nil {
		return err
	}
	_, err = w.Write(d.draw())
	return err
}

func parse(text []byte) (d dashboard, err error) {
	err = json.Unmarshal(text, &d)
	return d, err
}

// The picture is in units of Grafana's grid, which has 24 columns.
const (
	column = 52
	row    = 34
	gap    = 8
	head   = 56
	points = 60
)

var colors = []string{
	"#73bf69", "#5794f2", "#f2cc0c", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#96d98d", "#ffb357", "#ff7383",
}

func (d dashboard) draw() []byte {
	bottom := 0
	for _, p := range d.Panels {
		bottom = max(bottom, p.GridPos.Y+p.GridPos.H)
	}
	var b bytes.Buffer
	width, height := 24*column+gap, head+bottom*row+gap
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d"`+
		` font-family="Inter, Helvetica, Arial, sans-serif" font-size="12">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>The dashboard %s, drawn with example data</title>\n", html.EscapeString(d.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#111217"/>`+"\n", width, height)
	fmt.Fprintf(&b, `<text x="%d" y="35" font-size="19" fill="#ccccdc">%s</text>`+"\n", gap+6, html.EscapeString(d.Title))
	fmt.Fprintf(&b, `<text x="%d" y="35" text-anchor="end" fill="#8e8ea0">example data · last 6 hours</text>`+"\n", width-gap-6)
	for _, p := range d.Panels {
		p.draw(&b)
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}

func (p panel) draw(b *bytes.Buffer) {
	w, h := p.GridPos.W*column-gap, p.GridPos.H*row-gap
	fmt.Fprintf(b, `<g transform="translate(%d %d)">`+"\n", p.GridPos.X*column+gap, head+p.GridPos.Y*row)
	fmt.Fprintf(b, `<rect width="%d" height="%d" rx="3" fill="#181b1f" stroke="#2a2d33"/>`+"\n", w, h)
	fmt.Fprintf(b, `<text x="10" y="21" font-size="13" fill="#ccccdc">%s</text>`+"\n", html.EscapeString(p.Title))
	series := p.series()
	if p.Type == "stat" {
		p.drawStat(b, series[0], w, h)
	} else {
		p.drawSeries(b, series, w, h)
	}
	b.WriteString("</g>\n")
}

// series is a line of a panel: its values are in hundredths of what the axis shows, or in percent.
type series struct {
	name   string
	values []int
}

var label = regexp.MustCompile(`\{\{(\w+)\}\}`)

// series makes up data: whole numbers, so that every machine draws the same.
func (p panel) series() []series {
	var all []series
	for _, t := range p.Targets {
		for _, name := range names(t.LegendFormat, t.Expr) {
			all = append(all, series{name, p.madeUp(name)})
		}
	}
	return all
}

// examples are values of labels, for the picture alone.
var examples = map[string][]string{
	"login_refused":   {"unknown_state", "op_error:access_denied", "state_expired", "token_endpoint_unreachable"},
	"session_ended":   {"user", "idle", "absolute", "backchannel"},
	"refresh_failed":  {"invalid_grant", "token_endpoint_unreachable"},
	"provider_bucket": {"discovery", "keys", "token", "refresh", "userinfo"},
	"provider_count":  {"token: timeout", "userinfo: 503"},
	"store_bucket":    {"get", "create", "swap", "delete", "add", "batch"},
	"store_count":     {"get: timeout", "swap: _OTHER"},
	"event":           {"logout.started", "stepup.required", "access.denied", "jwks.refreshed", "userinfo.failed"},
}

var metricName = regexp.MustCompile(`oidcgate_(login_refused|session_ended|refresh_failed|provider|store|event)\w*?(_bucket|_count)?\{`)

// names returns the names of the lines that a query has.
func names(legend, expr string) []string {
	if !label.MatchString(legend) {
		return []string{legend}
	}
	m := metricName.FindStringSubmatch(expr)
	if m == nil {
		return []string{legend}
	}
	prefix, _, _ := strings.Cut(legend, "{{")
	var all []string
	for _, value := range examples[m[1]+m[2]] {
		all = append(all, prefix+value)
	}
	return all
}

func (p panel) madeUp(name string) []int {
	seed := fnv.New64a()
	_, _ = io.WriteString(seed, p.Title+"/"+name)
	random := rand.New(rand.NewPCG(seed.Sum64(), 1))
	level := p.level(name)
	values := make([]int, points)
	drift := 0
	for i := range values {
		if level == 0 {
			break
		}
		drift += random.IntN(level/6+3) - (level/6+2)/2
		drift -= drift / 5
		values[i] = max(level+drift, 0)
		if p.FieldConfig.Defaults.Unit == "percentunit" {
			values[i] = min(values[i], 100)
		}
	}
	return values
}

// level is about how high a line is.
func (p panel) level(name string) int {
	switch {
	case p.FieldConfig.Defaults.Unit == "percentunit":
		return 95
	case p.FieldConfig.Defaults.Unit == "s" && strings.Contains(p.Title, "tore"):
		return map[string]int{"create": 110, "swap": 160, "batch": 300}[name] + 90 + 8*len(name)
	case p.FieldConfig.Defaults.Unit == "s":
		return map[string]int{"keys": 2000, "token": 14000, "refresh": 12000, "p95": 13000}[name] + 4000
	case name == "started":
		return 4800
	case name == "succeeded", name == "begun", name == "logins":
		return 4200
	case name == "lost":
		return 0
	case strings.Contains(name, "idle"), strings.HasSuffix(name, "user"), strings.Contains(name, "logout"):
		return 1600
	}
	return 60 + 10*len(name)
}

func (p panel) drawStat(b *bytes.Buffer, s series, w, h int) {
	last := s.values[len(s.values)-1]
	fmt.Fprintf(b, `<polyline fill="none" stroke="#73bf69" stroke-opacity="0.5" stroke-width="1.5" points="%s"/>`+"\n",
		line(s.values, 2*slices.Max(s.values), w-20, h/2, 10, h/2-6))
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="middle" font-size="34" fill="#73bf69">%s</text>`+"\n", w/2, h/2+20, p.show(last))
}

// show returns a value as Grafana shows it.
func (p panel) show(value int) string {
	switch p.FieldConfig.Defaults.Unit {
	case "percentunit":
		return fmt.Sprintf("%d%%", value)
	case "s":
		if value < 1000 {
			return fmt.Sprintf("%d.%d ms", value/100, value/10%10)
		}
		return fmt.Sprintf("%d ms", value/100)
	}
	return fmt.Sprintf("%d.%d", value/100, value/10%10)
}

func (p panel) drawSeries(b *bytes.Buffer, all []series, w, h int) {
	const left, top, foot = 58, 36, 34
	stacked := p.FieldConfig.Defaults.Custom.Stacking.Mode == "normal"
	if stacked {
		for i := 1; i < len(all); i++ {
			for k := range all[i].values {
				all[i].values[k] += all[i-1].values[k]
			}
		}
	}
	most := 100
	for _, s := range all {
		most = max(most, slices.Max(s.values))
	}
	most += most / 10
	plotW, plotH := w-left-12, h-top-foot
	for i := range 4 {
		y := top + plotH - i*plotH/3
		fmt.Fprintf(b, `<path d="M%d %dh%d" stroke="#2a2d33"/><text x="%d" y="%d" text-anchor="end" fill="#8e8ea0" font-size="11">%s</text>`+"\n",
			left, y, plotW, left-7, y+4, p.show(most*i/3))
	}
	for i, s := range slices.Backward(all) { // the highest of a stack first
		color := colors[i%len(colors)]
		path := line(s.values, most, plotW, plotH, left, top)
		if stacked {
			fmt.Fprintf(b, `<polygon fill="%s" fill-opacity="0.3" points="%d,%d %s %d,%d"/>`+"\n", color, left, top+plotH, path, left+plotW, top+plotH)
		}
		fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.6" points="%s"/>`+"\n", color, path)
	}
	x := 10
	for i, s := range all {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="12" height="3" fill="%s"/><text x="%d" y="%d" fill="#ccccdc" font-size="11">%s</text>`+"\n",
			x, h-14, colors[i%len(colors)], x+16, h-9, html.EscapeString(s.name))
		x += 32 + len(s.name)*6
	}
}

// line returns the points of values in a box.
func line(values []int, most, w, h, left, top int) string {
	var parts []string
	for i, v := range values {
		parts = append(parts, fmt.Sprintf("%d,%d", left+i*w/(len(values)-1), top+h-v*h/max(most, 1)))
	}
	return strings.Join(parts, " ")
}
