// Command measures prints how the code of the module is arranged, as a table, and lists what to
// look at first. With -before it prints the numbers of another checkout beside it.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate/internal/measure"
)

const (
	width          = 100 // columns of a line
	parameters     = 5   // of a function
	linesOfFile    = 450
	functionsShown = 10
)

func main() {
	dir := flag.String("dir", ".", "the directory of the module to measure")
	before := flag.String("before", "", "another checkout, which fills the column \"before\"")
	all := flag.Bool("all", false, "list each store call, long line and exported name as well")
	flag.Parse()
	if err := run(*dir, *before, *all); err != nil {
		fmt.Fprintln(os.Stderr, "measures:", err)
		os.Exit(1)
	}
}

func run(dir, before string, all bool) error {
	m, err := measure.Load(dir)
	if err != nil {
		return err
	}
	heads, columns := []string{"now"}, []*measure.Module{m}
	if before != "" {
		old, err := measure.Load(before)
		if err != nil {
			return err
		}
		heads, columns = []string{"before", "after"}, []*measure.Module{old, m}
	}
	printTable(heads, columns)
	for _, l := range lists {
		if all || !l.long {
			printList(l.name, l.find(m))
		}
	}
	return nil
}

// rows are the lines of the table.
var rows = []struct {
	name  string
	value func(*measure.Module) string
}{
	{"arrows between packages; the root imports neither unsafe nor reflect", held},
	{"calls of store.Store's methods in the root", count(storeCalls)},
	{fmt.Sprintf("lines over %d columns in the root", width), count(longInRoot)},
	{fmt.Sprintf("lines over %d columns in internal, store, oidcgatetest", width), count(longBelow)},
	{"pairs of files of the root that use each other", count(pairs)},
	{"methods on Gate", count(gateMethods)},
	{"lines of the root", rootLines},
	{fmt.Sprintf("functions of the root with %d or more parameters", parameters), count(many)},
	{"the same, ctx aside", count(manyAside)},
	{"exported names in the root", count((*measure.Module).Exported)},
	{"constants among them", count((*measure.Module).Constants)},
}

// lists are what stands below the table; the long ones only if they are asked for.
var lists = []struct {
	name string
	long bool
	find func(*measure.Module) []string
}{
	{"imports that are not allowed", false, wrongImports},
	{"calls of store.Store's methods in the root", true, storeCalls},
	{fmt.Sprintf("lines over %d columns in the root", width), true, longInRoot},
	{fmt.Sprintf("lines over %d columns in internal, store, oidcgatetest", width), true, longBelow},
	{"pairs of files of the root that use each other", false, pairs},
	{"methods on Gate", true, gateMethods},
	{fmt.Sprintf("functions of the root with %d or more parameters", parameters), false, many},
	{"the same, ctx aside", false, manyAside},
	{"exported names in the root", true, (*measure.Module).Exported},
	{"longest functions of the root", false, longest},
	{"longest functions of internal, store, oidcgatetest", false, longestBelow},
	{fmt.Sprintf("files over %d lines", linesOfFile), false, longFiles},
}

func printTable(heads []string, columns []*measure.Module) {
	fmt.Printf("| | %s |\n|%s\n", strings.Join(heads, " | "), strings.Repeat(" --- |", len(heads)+1))
	for _, row := range rows {
		fmt.Printf("| %s |", row.name)
		for _, m := range columns {
			fmt.Printf(" %s |", row.value(m))
		}
		fmt.Println()
	}
}

func printList(name string, found []string) {
	fmt.Printf("\n%s: %d\n", name, len(found))
	for _, f := range found {
		fmt.Printf("    %s\n", f)
	}
}

// count makes a value of a list: its length.
func count(find func(*measure.Module) []string) func(*measure.Module) string {
	return func(m *measure.Module) string { return fmt.Sprint(len(find(m))) }
}

func held(m *measure.Module) string {
	if n := len(wrongImports(m)); n > 0 {
		return fmt.Sprintf("broken by %d", n)
	}
	return "held"
}

func wrongImports(m *measure.Module) []string {
	return append(m.WrongImports(), m.UnsafeImports()...)
}

func storeCalls(m *measure.Module) []string { return m.StoreCalls() }

func gateMethods(m *measure.Module) []string { return m.MethodsOn("Gate") }

func rootLines(m *measure.Module) string { return fmt.Sprint(measure.Lines(m.Root())) }

func longInRoot(m *measure.Module) []string { return measure.LongLines(m.Root(), width) }

func longBelow(m *measure.Module) []string { return measure.LongLines(below(m), width) }

func many(m *measure.Module) []string { return m.ManyParameters(m.Root(), parameters, false) }

func manyAside(m *measure.Module) []string { return m.ManyParameters(m.Root(), parameters, true) }

func longest(m *measure.Module) []string { return m.LongestFunctions(m.Root(), functionsShown) }

func longestBelow(m *measure.Module) []string {
	return m.LongestFunctions(below(m), functionsShown)
}

func longFiles(m *measure.Module) []string {
	return measure.LongFiles(slices.Concat(m.Root(), below(m)), linesOfFile)
}

func below(m *measure.Module) []*measure.File {
	return m.Below("internal", "store", "oidcgatetest")
}

func pairs(m *measure.Module) []string {
	var all []string
	for _, p := range m.Pairs() {
		all = append(all, p.String())
	}
	return all
}
