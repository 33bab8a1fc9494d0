package main

import (
	"bufio"
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"go/format"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/check"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/internal/site"
	"github.com/oidcgate/oidcgate/internal/weburl"
	"github.com/oidcgate/oidcgate/presets"
)

const initHelp = `Asks five questions on standard input. Prints a working main.go, an .env with its
settings, and what to register at the provider. An empty answer takes the one in brackets.
`

//go:embed templates
var templates embed.FS

// answers are what init asks for.
type answers struct {
	Router   string // mux, chi or gin
	BaseURL  string
	Issuer   string
	ClientID string
	Method   string // of client authentication
	Store    string // memory or redis

	Preset  *presets.Preset   // nil for an issuer that was given as such
	Details map[string]string // what the preset asks for
	at      site.Site
}

// initMethods are the methods of authentication that init writes code for.
var initMethods = []string{
	op.AuthBasic, op.AuthPost, op.AuthNone, op.AuthSecretJWT, op.AuthKeyJWT,
}

// HasSecret reports whether there is a client secret.
func (a *answers) HasSecret() bool {
	return a.Method != op.AuthNone && a.Method != op.AuthKeyJWT && !a.HasAppleKey()
}

// HasKey reports whether the client signs with a key of its own.
func (a *answers) HasKey() bool { return a.Method == op.AuthKeyJWT }

// Auth is the field Provider.Auth in Go.
func (a *answers) Auth() string {
	switch a.Method {
	case op.AuthPost:
		return `oidcgate.ClientSecretPost(os.Getenv("OIDC_CLIENT_SECRET"))`
	case op.AuthNone:
		return `oidcgate.PublicClient()`
	case op.AuthSecretJWT:
		return `oidcgate.ClientSecretJWT(os.Getenv("OIDC_CLIENT_SECRET"))`
	case op.AuthKeyJWT:
		return `oidcgate.PrivateKeyJWT()`
	}
	return `oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET"))`
}

// Addr is where the service listens.
func (a *answers) Addr() string {
	if u, err := url.Parse(a.BaseURL); err == nil && a.at.Local && u.Port() != "" {
		return u.Host
	}
	return "localhost:8080"
}

// SessionKey returns a new key.
func (a *answers) SessionKey() string { return sessionKey() }

// Route returns the absolute address of a route of the gate.
func (a *answers) Route(path string) string { return a.at.URL(a.at.Prefix + path) }

// Home returns the address after a logout.
func (a *answers) Home() string { return a.at.Home() }

// Note says what to know at the provider, or "".
func (a *answers) Note() string {
	if a.Preset == nil {
		return ""
	}
	return a.Preset.Register
}

// Quote returns a text as a shell takes it.
func (a *answers) Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (p process) init(args []string) int {
	f := p.flags("init", initHelp)
	dir := f.String("dir", "", "write main.go and .env into this directory in place of printing them")
	if status, over := p.parse(f, args); over {
		return status
	}
	if *dir != "" {
		if err := isFree(*dir); err != nil {
			return p.failed("init", err)
		}
	}
	a, err := ask(bufio.NewScanner(p.in), func(s string) { _, _ = fmt.Fprint(p.err, s) })
	if err != nil {
		return p.failed("init", err)
	}
	files, err := a.files()
	if err != nil {
		return p.failed("init", err)
	}
	if *dir != "" {
		err = files.write(*dir)
	} else {
		_, err = fmt.Fprintf(p.out, "==> main.go <==\n%s\n==> .env <==\n%s\n", files.main, files.env)
	}
	if err != nil {
		return p.failed("init", err)
	}
	where := ""
	if *dir != "" {
		where = " in " + *dir + ", where main.go and .env are"
	}
	_, _ = fmt.Fprintf(p.out, "==> what to do%s <==\n%s", where, files.todo)
	return exitOK
}

// question is one of the five. list may be empty, and usual too. take reads the answer into answers.
type question struct {
	text, list, usual string
	take              func(a *answers, answer string) error
}

// routerNames are other names of a router.
var routerNames = strings.NewReplacer("http.servemux", "mux", "servemux", "mux")

var questions = []question{
	{"Which router: mux (http.ServeMux), chi or gin?", "", "mux", func(a *answers, s string) error {
		a.Router = routerNames.Replace(strings.ToLower(s))
		return oneOf(a.Router, "mux", "chi", "gin")
	}},
	{"At which address do browsers find the service?", "", "http://localhost:8080", takeBaseURL},
	{"Which provider: its issuer, or one of these with what it needs?", presetLines(), "",
		takeIssuer},
	{"Client id, and how the client authenticates: " + strings.Join(initMethods, ", ") + "?", "", "",
		takeClient},
	{"Where are sessions kept: memory (one process, until it ends) or redis?", "", "memory",
		func(a *answers, s string) error {
			a.Store = strings.ToLower(s)
			return oneOf(a.Store, "memory", "redis")
		}},
}

// ask asks all questions. An answer that cannot be used is asked for again, without the list, which
// stands above.
func ask(in *bufio.Scanner, say func(string)) (*answers, error) {
	a := &answers{}
	for i, q := range questions {
		for done, list := false, q.list; !done; list = "" {
			say(fmt.Sprintf("%d/%d %s%s", i+1, len(questions), q.text, list))
			if q.usual != "" {
				say(" [" + q.usual + "]")
			}
			say("\n> ")
			if !in.Scan() {
				return nil, cmp.Or(in.Err(), fmt.Errorf("the input ended at question %d", i+1))
			}
			err := q.take(a, cmp.Or(strings.TrimSpace(in.Text()), q.usual))
			if done = err == nil; !done {
				say(err.Error() + "\n")
			}
		}
	}
	return a, nil
}

func oneOf(s string, words ...string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
}

func takeBaseURL(a *answers, s string) error {
	if err := needsHTTPS(s); err != nil {
		return err
	}
	var f check.List
	a.BaseURL = s
	a.at = site.Site{BaseURL: s}
	a.at.Complete(&f)
	return firstFault(f)
}

func takeIssuer(a *answers, s string) error {
	a.Issuer, a.Preset, a.Details = s, nil, nil
	words := strings.Fields(s)
	if len(words) == 0 {
		return errors.New("write an issuer such as https://id.example, or a name of the list")
	}
	for _, p := range presets.List() {
		if strings.EqualFold(words[0], p.Name) {
			return a.takePreset(&p, words[1:])
		}
	}
	if !strings.ContainsAny(strings.TrimSuffix(words[0], ":"), "./:") {
		return unknownPreset(words[0])
	}
	return usableProvider(oidcgate.Provider{Issuer: a.Issuer})
}

func takeClient(a *answers, s string) error {
	words := strings.Fields(s)
	if len(words) == 0 || len(words) > 2 {
		return errors.New("write the client id, a space, and the method")
	}
	a.ClientID, a.Method = words[0], a.usualMethod()
	if len(words) == 2 {
		a.Method = words[1]
	}
	if !a.choosesMethod() && a.Method != a.usualMethod() {
		return fmt.Errorf("%s takes %s alone", a.Preset.Name, a.usualMethod())
	}
	return oneOf(a.Method, initMethods...)
}

// needsHTTPS refuses http off this machine. main.go would have to set InsecureAllowHTTP for it.
func needsHTTPS(address string) error {
	if _, err := weburl.Check(address, false); errors.Is(err, weburl.ErrHTTP) {
		return fmt.Errorf("%q is http; use https (http is for this machine alone, such as "+
			"http://localhost:8080)", address)
	}
	return nil
}

func firstFault(f check.List) error {
	if len(f) == 0 {
		return nil
	}
	return fmt.Errorf("%s %s", f[0].Field, f[0].Text)
}

// files are what init writes.
type files struct{ main, env, todo []byte }

func (a *answers) files() (f files, err error) {
	all, err := template.New("").ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return f, err
	}
	for _, part := range []struct {
		name string
		to   *[]byte
	}{{"main.go.tmpl", &f.main}, {"env.tmpl", &f.env}, {"todo.tmpl", &f.todo}} {
		var b bytes.Buffer
		if err := all.ExecuteTemplate(&b, part.name, a); err != nil {
			return f, err
		}
		*part.to = b.Bytes()
	}
	f.main, err = format.Source(f.main)
	return f, err
}

// isFree returns why the files cannot be written into a directory, before anything is asked.
func isFree(dir string) error {
	if _, err := os.Stat(dir); err != nil {
		return err
	}
	for _, name := range []string{"main.go", ".env"} {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			return fmt.Errorf("%s is there already", filepath.Join(dir, name))
		}
	}
	return nil
}

// write writes the files, and overwrites none.
func (f files) write(dir string) error {
	for _, file := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{"main.go", f.main, 0o644}, {".env", f.env, 0o600}} {
		to, err := os.OpenFile(filepath.Join(dir, file.name),
			os.O_WRONLY|os.O_CREATE|os.O_EXCL, file.mode)
		if err != nil {
			return err
		}
		_, err = to.Write(file.text)
		if err := errors.Join(err, to.Close()); err != nil {
			return err
		}
	}
	return nil
}
