package oidcgate_test

import (
	"fmt"
	"io"
	"net/http"
)

// valuesShop is an application that keeps values: /put?k=&v= and /get?k=.
func valuesShop(w *world) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", w.shop())
	mux.HandleFunc("/put", func(rw http.ResponseWriter, r *http.Request) {
		w.gate.Values().Put(r.Context(), r.FormValue("k"), r.FormValue("v"))
		_, _ = io.WriteString(rw, "put")
	})
	mux.HandleFunc("/get", func(rw http.ResponseWriter, r *http.Request) {
		fmt.Fprint(rw, w.gate.Values().GetString(r.Context(), r.FormValue("k")))
	})
	return mux
}
