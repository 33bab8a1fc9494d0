//go:build unix

package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

// A report holds all measurements.
type report struct {
	options options
	size    size
	costs   []result
	logins  []result
	loads   []*load
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, %s/%s, %d processors. %d rounds of %v each; medians.\n",
		runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), r.options.rounds, r.options.time)
	fmt.Fprintln(w, "Every client of Redis has PoolSize: 64 and, but for one, ContextTimeoutEnabled: true.")
	for _, l := range r.loads {
		l.print(w)
	}
	r.printCosts(w)
	r.printLogins(w)
	fmt.Fprintf(w, "\nA session in Redis: %d bytes in %d keys, of which a request reads %d.\n", r.size.total, r.size.keys, r.size.request)
}

// columns writes a table.
func columns(w io.Writer, rows func(w io.Writer)) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	rows(t)
	_ = t.Flush()
}

func (l *load) print(w io.Writer) {
	fmt.Fprintf(w, "\nProcessor time of the server per request, %d connections\n\n", l.connections)
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "\tmicroseconds\tx one GET\t(lowest to highest round)\trequests/s\t99 % within\t")
		for _, s := range l.subjects {
			samples := l.samples[s.title()]
			ratios := l.ratios(s.title())
			fmt.Fprintf(w, "%s\t%.1f\t%.2f\t(%.2f to %.2f)\t%.0f\t%.1f ms\t\n", s.title(),
				microseconds(median(samples, func(s sample) float64 { return float64(s.cpu) })),
				median(ratios, func(r float64) float64 { return r }), slices.Min(ratios), slices.Max(ratios),
				median(samples, func(s sample) float64 { return s.rate }),
				median(samples, func(s sample) float64 { return float64(s.p99) / 1e6 }))
		}
	})
}

// ratios compares a subject with the floor, round by round.
func (l *load) ratios(name string) []float64 {
	var ratios []float64
	for i, s := range l.samples[name] {
		ratios = append(ratios, float64(s.cpu)/float64(l.samples[floorName][i].cpu))
	}
	return ratios
}

func (r *report) printCosts(w io.Writer) {
	var floor int64
	for _, c := range r.costs {
		if c.name == floorName {
			floor = c.AllocsPerOp()
		}
	}
	fmt.Fprint(w, "\nThe handler alone, one request at a time\n\n")
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "\tmicroseconds\tbytes\tallocations\tbeyond one GET\t")
		for _, c := range r.costs {
			fmt.Fprintf(w, "%s\t%.1f\t%d\t%d\t%d\t\n", c.name, microseconds(float64(c.NsPerOp())), c.AllocedBytesPerOp(), c.AllocsPerOp(), c.AllocsPerOp()-floor)
		}
	})
}

func (r *report) printLogins(w io.Writer) {
	fmt.Fprint(w, "\nA whole login, browser and provider included, in one process\n\n")
	columns(w, func(w io.Writer) {
		fmt.Fprintln(w, "\tmicroseconds\tallocations\t")
		for _, l := range r.logins {
			fmt.Fprintf(w, "%s\t%.0f\t%d\t\n", l.name, microseconds(float64(l.NsPerOp())), l.AllocsPerOp())
		}
	})
}

func microseconds(ns float64) float64 { return ns / float64(time.Microsecond) }

// median returns the middle of the values, the higher one where there are two.
func median[T any](of []T, value func(T) float64) float64 {
	var values []float64
	for _, v := range of {
		values = append(values, value(v))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
