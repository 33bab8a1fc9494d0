package main

import (
	"bytes"
	"embed"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/oidcgate/oidcgate"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed style.css
var style []byte

var templates = template.Must(template.New("").Funcs(template.FuncMap{"initials": initials}).ParseFS(templateFiles, "templates/*.html"))

// view is the data of every page of the shop. Body is the data of the single page.
type view struct {
	Title string
	Page  string // marked in the navigation
	Body  any

	// Set by show.
	Name      string // of the signed-in customer, or ""
	SignedIn  bool
	Basket    int
	Notice    string // what the visitor has just done
	LoginURL  string // empty on the gate's own routes, which know no user
	LogoutURL string

	LogoutPage string // where the gate's pages link to for a logout; it would ask first
}

// notices are what the visitor has just done, by the parameter done of the address.
var notices = map[string]string{
	"logout":  "You are logged out.",
	"device":  "The device is logged out.",
	"devices": "Your other devices are logged out.",
}

func (s *shop) show(w http.ResponseWriter, r *http.Request, status int, name string, v view) {
	v.LogoutURL, v.LogoutPage = s.gate.LogoutURL("/?done=logout"), s.gate.LogoutURL("")
	v.Notice = notices[r.URL.Query().Get("done")]
	if !strings.HasPrefix(r.URL.Path, "/auth/") {
		v.LoginURL = s.gate.LoginURL(loginReturn(r))
	}
	if id, ok := oidcgate.FromContext(r.Context()); ok {
		v.Name, v.SignedIn, v.Basket = s.customers.find(id).Name, true, s.basketSize(r.Context())
	}
	// The form of the logout button is redirected to the provider, whose origin may vary, so there
	// is no form-action here.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
	render(w, status, name, v)
}

// loginReturn returns the path to which a login leads back: the current page.
func loginReturn(r *http.Request) string {
	if r.Method != http.MethodGet {
		return "/"
	}
	return r.URL.Path
}

// render writes a whole page, or an error if the template fails.
func render(w http.ResponseWriter, status int, name string, v any) {
	var page bytes.Buffer
	if err := templates.ExecuteTemplate(&page, name, v); err != nil {
		slog.Error("demo: executing a template", "err", err)
		http.Error(w, "This page could not be created.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // an error means that the browser has left
}

func serveStyle(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(style) // an error means that the browser has left
}

// initials are the first letters of the first two words of a name.
func initials(name string) string {
	letters := ""
	for i, word := range strings.Fields(name) {
		if i == 2 {
			break
		}
		r, _ := utf8.DecodeRuneInString(word)
		letters += string(r)
	}
	return strings.ToUpper(letters)
}
