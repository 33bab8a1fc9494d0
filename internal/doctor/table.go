package doctor

import (
	"fmt"
	"io"
	"strings"
)

// columns is how wide a table is. A word that is longer is not broken.
const columns = 100

// WriteTable writes findings as a table: level, name, and what there is to say with its cure. The
// last line counts.
func WriteTable(w io.Writer, found []Finding) error {
	wide := 0
	for _, f := range found {
		wide = max(wide, len(f.Name))
	}
	var b strings.Builder
	faults, warnings, skipped := 0, 0, 0
	for _, f := range found {
		switch f.Level {
		case Fault:
			faults++
		case Warn:
			warnings++
		case Skip:
			skipped++
		}
		text := f.Text
		if f.Cure != "" {
			text += ". Cure: " + f.Cure
		}
		head := fmt.Sprintf("%-5s  %-*s  ", strings.ToUpper(string(f.Level)), wide, f.Name)
		if !strings.HasSuffix(text, "?") {
			text += "."
		}
		writeWrapped(&b, head, text)
	}
	verdict := "logins should work"
	if faults > 0 {
		verdict = "logins would fail"
	}
	counts := count(faults, "fault") + ", " + count(warnings, "warning")
	if skipped > 0 {
		counts += fmt.Sprintf(", %d not tried", skipped)
	}
	fmt.Fprintf(&b, "\n%s: %s\n", counts, verdict)
	_, err := io.WriteString(w, b.String())
	return err
}

// writeWrapped writes a text behind a head. Further lines are indented as wide as the head.
func writeWrapped(b *strings.Builder, head, text string) {
	line := head
	for i, word := range strings.Split(text, " ") {
		switch {
		case i == 0:
			line += word
		case len(line)+1+len(word) > columns:
			b.WriteString(line + "\n")
			line = strings.Repeat(" ", len(head)) + word
		default:
			line += " " + word
		}
	}
	b.WriteString(line + "\n")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
