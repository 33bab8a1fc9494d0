// Command oidcgate helps to set up a service that logs people in with oidcgate.
//
//	oidcgate doctor -issuer https://id.example   what a provider supports, what is wrong, the cure
//	oidcgate init                                a main.go, its settings, and what to register
//	oidcgate keys                                keys for SESSION_KEYS, and to sign with
//
// It exits with 0 if all is well, with 1 if something is wrong, and with 2 if it was called
// wrongly.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
)

// The exit statuses.
const (
	exitOK    = 0
	exitFault = 1 // the provider, the configuration or an answer has a fault
	exitUsage = 2 // the command was called wrongly
)

const usage = `usage: oidcgate COMMAND [FLAGS]

  doctor   says what a provider supports, what is wrong, and how to mend it
  init     asks five questions and writes a main.go, its settings, and what to register
  keys     makes a key for SESSION_KEYS, or one to sign with

oidcgate COMMAND -h lists the flags of a command. Exit status: 0 healthy, 1 faults, 2 usage.
`

// process is what a command reads and writes.
type process struct {
	in       io.Reader
	out, err io.Writer
	getenv   func(string) string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	p := process{os.Stdin, os.Stdout, os.Stderr, os.Getenv}
	os.Exit(p.run(ctx, os.Args[1:]))
}

func (p process) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		_, _ = io.WriteString(p.err, usage)
		return exitUsage
	}
	switch args[0] {
	case "doctor":
		return p.doctor(ctx, args[1:])
	case "init":
		return p.init(args[1:])
	case "keys":
		return p.keys(args[1:])
	case "check": // the name of the page of the docs, and of the method
		return p.wrong("check", "did you mean doctor?")
	case "help", "-h", "-help", "--help":
		_, _ = io.WriteString(p.out, usage)
		return exitOK
	}
	_, _ = fmt.Fprintf(p.err, "oidcgate: there is no command %q\n\n%s", args[0], usage)
	return exitUsage
}

// flags returns the flags of a command, with its help text.
func (p process) flags(command, help string) *flag.FlagSet {
	f := flag.NewFlagSet(command, flag.ContinueOnError)
	f.SetOutput(p.err)
	f.Usage = func() {
		_, _ = fmt.Fprintf(p.err, "usage: oidcgate %s [FLAGS]\n\n%s\n", command, help)
		f.PrintDefaults()
	}
	return f
}

// parse returns the exit status, and whether the command is over.
func (p process) parse(f *flag.FlagSet, args []string) (status int, over bool) {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK, true
	case err != nil:
		return exitUsage, true
	case f.NArg() > 0:
		return p.wrong(f.Name(), "%q is too much; flags come with a dash", f.Arg(0)), true
	}
	return exitOK, false
}

// wrong says that a command was called wrongly.
func (p process) wrong(command, format string, args ...any) int {
	_, _ = fmt.Fprintf(p.err, "oidcgate %s: %s\n", command, fmt.Sprintf(format, args...))
	return exitUsage
}

// failed says that a command did not work.
func (p process) failed(command string, err error) int {
	_, _ = fmt.Fprintf(p.err, "oidcgate %s: %v\n", command, err)
	return exitFault
}
