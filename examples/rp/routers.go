package main

import (
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"

	"github.com/oidcgate/oidcgate"
)

// page is a route. All three routers get the same routes.
type page struct {
	path    string
	serve   http.HandlerFunc
	guarded bool
	rules   []oidcgate.Rule
	post    bool // it changes something, so only POST from this site is accepted
}

func (p page) handler() http.HandlerFunc {
	if !p.post {
		return p.serve
	}
	sameSite := http.NewCrossOriginProtection().Handler(p.serve)
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "only for POST", http.StatusMethodNotAllowed)
			return
		}
		sameSite.ServeHTTP(w, r)
	}
}

// handler returns the handler of the server. Health probes are outside the gate, because they need
// no session.
func (s *service) handler() http.Handler {
	gated := s.gate.Wrap(s.router())
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz":
			s.healthz(w, r)
		case "/readyz":
			s.readyz(w, r)
		default:
			gated.ServeHTTP(w, r)
		}
	})
}

func (s *service) router() http.Handler {
	switch s.options.router {
	case "chi":
		return s.chiRouter()
	case "gin":
		return s.ginRouter()
	default:
		return s.muxRouter()
	}
}

func (s *service) muxRouter() http.Handler {
	mux := http.NewServeMux()
	s.addToMux(mux, s.pages())
	mounted := http.NewServeMux()
	s.addToMux(mounted, s.mountedPages())
	mux.Handle("/mounted/", http.StripPrefix("/mounted", mounted))
	return mux
}

func (s *service) addToMux(mux *http.ServeMux, pages []page) {
	for _, p := range pages {
		pattern := p.path
		if pattern == "/" {
			pattern = "/{$}" // "/" alone would match every path without a route
		}
		var h http.Handler = p.handler()
		if p.guarded {
			h = s.gate.Require(p.rules...)(h)
		}
		mux.Handle(pattern, h)
	}
}

func (s *service) chiRouter() http.Handler {
	r := chi.NewRouter()
	s.addToChi(r, s.pages())
	mounted := chi.NewRouter()
	s.addToChi(mounted, s.mountedPages())
	r.Mount("/mounted", mounted)
	return r
}

func (s *service) addToChi(r chi.Router, pages []page) {
	for _, p := range pages {
		if p.guarded {
			r.With(s.gate.Require(p.rules...)).Handle(p.path, p.handler())
			continue
		}
		r.Handle(p.path, p.handler())
	}
}

func (s *service) ginRouter() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	s.addToGin(engine, s.pages())
	s.addToGin(engine.Group("/mounted"), s.mountedPages())
	return engine
}

func (s *service) addToGin(r gin.IRouter, pages []page) {
	for _, p := range pages {
		var handlers []gin.HandlerFunc
		if p.guarded {
			handlers = append(handlers, s.ginGuard(p.rules...))
		}
		r.Any(p.path, append(handlers, ginHandler(p.handler()))...)
	}
}

// ginGuard returns a guard as a gin handler.
func (s *service) ginGuard(rules ...oidcgate.Rule) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !s.gate.Admit(c.Writer, c.Request, rules...) {
			c.Abort()
		}
	}
}

func ginHandler(h http.HandlerFunc) gin.HandlerFunc {
	return func(c *gin.Context) { h(ginWriter{c.Writer}, c.Request) }
}

// ginWriter sends informational responses (1xx) at once. gin itself only remembers the status and
// sends the last one with the body, so a 103 would be lost.
type ginWriter struct{ gin.ResponseWriter }

// WriteHeader implements [http.ResponseWriter].
func (w ginWriter) WriteHeader(status int) {
	below, ok := w.ResponseWriter.(interface{ Unwrap() http.ResponseWriter })
	if ok && status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		below.Unwrap().WriteHeader(status)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w ginWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
