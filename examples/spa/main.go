// Command spa is an example of oidcgate below a page with script ("single-page application"). The
// page calls a JSON API of the same site with the session's cookie. No token reaches the browser. It
// needs only Go, and logs in at a provider of its own:
//
//	go run ./spa
//
// With OIDC_ISSUER, OIDC_CLIENT_ID and OIDC_CLIENT_SECRET it logs in at yours. Register
// http://localhost:8080/auth/callback there, and http://localhost:8080/auth/logout/done for logouts.
package main

import (
	"cmp"
	"embed"
	"encoding/json"
	"io/fs"
	"log"
	"net/http"
	"os"
	"sync"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/examples/internal/tryout"
)

//go:embed web
var web embed.FS

func main() {
	addr := cmp.Or(os.Getenv("ADDR"), "localhost:8080")
	base := cmp.Or(os.Getenv("BASE_URL"), "http://"+addr)
	tryout.Provider(tryout.Options{BaseURL: base})
	gate, err := oidcgate.New(oidcgate.Config{
		BaseURL: base,                                    // on a loopback host: sessions are in memory, and the key is random
		Site:    oidcgate.SiteOptions{SessionInfo: true}, // the page asks /auth/session
	}, oidcgate.Provider{
		Issuer: os.Getenv("OIDC_ISSUER"), ClientID: os.Getenv("OIDC_CLIENT_ID"),
		Auth:   oidcgate.ClientSecretBasic(os.Getenv("OIDC_CLIENT_SECRET")),
		Scopes: []string{"profile", "email"},
	})
	if err != nil {
		log.Fatal(err)
	}
	files, err := fs.Sub(web, "web")
	if err != nil {
		log.Fatal(err)
	}
	s := &service{gate: gate, notes: map[string][]string{}}
	api := gate.Wrap(s.routes())
	mux := http.NewServeMux()
	mux.Handle("/api/", api)
	mux.Handle("/auth/", api)                       // the gate's own routes
	mux.Handle("/", page(http.FileServerFS(files))) // the page is for everybody, and needs no session
	log.Print("open ", base)
	log.Fatal(http.ListenAndServe(addr, mux))
}

// page lets the browser load only what is of this site, and no script that stands in the page. There
// is no form-action: the form of the logout is redirected to the provider.
func page(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; "+
			"style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// service has notes of its users, in memory.
type service struct {
	gate  *oidcgate.Gate
	mu    sync.Mutex
	notes map[string][]string // by subject; the issuer is always the same
}

// routes are those of the API. Without a session a script gets 401 and the login's address, and
// requests of other sites get 403.
func (s *service) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /api/notes", s.gate.RequireAPI()(http.HandlerFunc(s.list)))
	mux.Handle("POST /api/notes", s.gate.RequireAPI()(http.HandlerFunc(s.add)))
	return mux
}

func (s *service) list(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context()) // RequireAPI admits only signed-in users
	s.mu.Lock()
	notes := append([]string{}, s.notes[id.Subject()]...)
	s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // an error means that the browser has left
		"name": id.Name(), "notes": notes, "logout_url": s.gate.LogoutURL("/"),
	})
}

func (s *service) add(w http.ResponseWriter, r *http.Request) {
	id, _ := oidcgate.FromContext(r.Context())
	var note struct{ Text string }
	body := http.MaxBytesReader(w, r.Body, 4096)
	if err := json.NewDecoder(body).Decode(&note); err != nil || note.Text == "" {
		http.Error(w, `write {"text": "..."}`, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	s.notes[id.Subject()] = append(s.notes[id.Subject()], note.Text)
	s.mu.Unlock()
	s.list(w, r)
}
