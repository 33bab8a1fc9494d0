package oidcgateotel_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/event"
	"github.com/oidcgate/oidcgate/oidcgateotel"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
	"github.com/oidcgate/oidcgate/store/storetest"
)

// canary is a text that must be in no metric and in no span.
const canary = "canary-5f2a"

func TestLogin(t *testing.T) {
	w := newWorld(t)
	w.login()
	w.want("oidcgate.login.started{oidcgate.provider=main}", 1)
	w.want("oidcgate.login.succeeded{oidcgate.provider=main}", 1)
	w.want("oidcgate.session.begun{oidcgate.provider=main}", 1)
	w.want("oidcgate.event.delivered{oidcgate.event.type=login.succeeded,oidcgate.provider=main}", 1)
	for _, purpose := range []string{"discovery", "keys", "token", "userinfo"} {
		w.want("oidcgate.provider.request.duration{http.response.status_code=200,oidcgate.provider=main,oidcgate.purpose="+purpose+"}", 1)
		s := w.span("oidcgate." + purpose)
		if got := text(s.Attributes); !strings.Contains(got, "oidcgate.purpose="+purpose) || !strings.Contains(got, "http.response.status_code=200") || !strings.Contains(got, "server.address=id.test") ||
			!strings.Contains(got, "oidcgate.provider=main") || s.Status.Code != codes.Unset {
			t.Errorf("%s: %s %v", s.Name, got, s.Status)
		}
	}
	for _, operation := range []string{"get", "create", "add"} {
		w.want("oidcgate.store.operation.duration{oidcgate.store.operation="+operation+"}", -1)
	}
	w.below("oidcgate.discovery", "oidcgate.login")
	for _, child := range []string{"oidcgate.token", "oidcgate.keys", "oidcgate.userinfo", "oidcgate.store.create", "oidcgate.store.add"} {
		w.below(child, "oidcgate.callback")
	}
	if got := text(w.span("oidcgate.callback").Attributes); got != "{http.response.status_code=303,oidcgate.provider=main}" {
		t.Errorf("oidcgate.callback: %s", got)
	}
	if got := text(w.span("oidcgate.login").Attributes); got != "{http.response.status_code=303}" {
		t.Errorf("oidcgate.login: %s", got)
	}
}

func TestRefresh(t *testing.T) {
	w := newWorld(t)
	w.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 0 }))
	w.login()
	if _, body := w.get("/token"); body != "<nil>" {
		t.Fatal(body)
	}
	w.want("oidcgate.refresh.succeeded{oidcgate.provider=main}", 1)
	w.want("oidcgate.provider.request.duration{http.response.status_code=200,oidcgate.provider=main,oidcgate.purpose=refresh}", 1)
	w.want("oidcgate.store.operation.duration{oidcgate.store.operation=swap}", -1)
	if s := w.span("oidcgate.refresh"); !s.EndTime.After(s.StartTime) {
		t.Errorf("%v to %v", s.StartTime, s.EndTime)
	}
}

func TestRefreshRefused(t *testing.T) {
	w := newWorld(t)
	w.op.Inject(oidcgatetest.Token, oidcgatetest.EditJSON(func(m map[string]any) { m["expires_in"] = 0 }))
	w.login()
	w.op.Inject(oidcgatetest.Token, oidcgatetest.Answer(400, "application/json", `{"error":"invalid_grant","error_description":"`+canary+`"}`))
	w.get("/token")
	w.want("oidcgate.refresh.failed{oidcgate.provider=main,oidcgate.reason=invalid_grant}", 1)
	w.want("oidcgate.session.ended{oidcgate.provider=main,oidcgate.reason=token}", 1)
	w.want("oidcgate.provider.request.duration{error.type=400,http.response.status_code=400,oidcgate.provider=main,oidcgate.purpose=refresh}", 1)
	if s := w.span("oidcgate.refresh"); s.Status.Code != codes.Error || s.Status.Description != "" {
		t.Errorf("%v", s.Status)
	}
	w.clean()
}

func TestLogout(t *testing.T) {
	w := newWorld(t)
	w.login()
	if status, body := w.do(http.MethodPost, "/auth/logout"); status != http.StatusOK {
		t.Fatalf("%d %s", status, body)
	}
	w.want("oidcgate.session.ended{oidcgate.provider=main,oidcgate.reason=user}", 1)
	w.want("oidcgate.event.delivered{oidcgate.event.type=logout.started,oidcgate.provider=main}", 1)
	w.below("oidcgate.store.delete", "oidcgate.logout")
	w.span("oidcgate.logout/done")
}

func TestRefusedLogin(t *testing.T) {
	w := newWorld(t)
	w.op.Inject(oidcgatetest.Authorization, oidcgatetest.Edit(func(a *oidcgatetest.Response) {
		at := a.Header.Get("Location")
		at = at[:strings.Index(at, "?")] + "?error=" + canary + "&error_description=" + canary + "&iss=" + w.op.Issuer() + "&" + stateOf(at)
		a.Header.Set("Location", at)
	}))
	status, page := w.get("/app")
	if status < 400 {
		t.Fatalf("%d %s", status, page)
	}
	w.want("oidcgate.login.refused{oidcgate.provider=main,oidcgate.reason=op_error:other}", 1)
	w.want("oidcgate.login.succeeded{oidcgate.provider=main}", 0)
	got := text(w.span("oidcgate.callback").Attributes)
	if !strings.Contains(got, "oidcgate.reason=op_error:other") {
		t.Errorf("oidcgate.callback: %s", got)
	}
	_, reference, _ := strings.Cut(got, "oidcgate.reference=")
	if reference = strings.TrimRight(reference, "}"); len(reference) < 8 || strings.Contains(reference, ",") || !strings.Contains(page, reference) {
		t.Errorf("the reference is not on the page: %s", got)
	}
	w.clean()
}

func stateOf(address string) string {
	_, state, _ := strings.Cut(address, "state=")
	state, _, _ = strings.Cut(state, "&")
	return "state=" + state
}

func TestProviderThatBreaks(t *testing.T) {
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider, _ *oidcgateotel.Options) {
		c.HTTP.Timeout = 200 * time.Millisecond
	})
	w.op.Inject(oidcgatetest.Token, oidcgatetest.Hang())
	if status, _ := w.get("/app"); status != http.StatusBadGateway && status != http.StatusGatewayTimeout && status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	w.want("oidcgate.provider.request.duration{error.type=timeout,oidcgate.provider=main,oidcgate.purpose=token}", 1)
	if s := w.span("oidcgate.callback"); s.Status.Code != codes.Error {
		t.Errorf("oidcgate.callback: %v", s.Status)
	}
	w.op.Inject(oidcgatetest.Token, oidcgatetest.Reset())
	w.get("/app")
	w.want("oidcgate.provider.request.duration{error.type=_OTHER,oidcgate.provider=main,oidcgate.purpose=token}", 1)
	w.op.Inject(oidcgatetest.Token, oidcgatetest.HangBody())
	w.get("/app")
	w.want("oidcgate.provider.request.duration{error.type=timeout,http.response.status_code=200,oidcgate.provider=main,oidcgate.purpose=token}", 1)
}

func TestStoreOutage(t *testing.T) {
	w := newWorld(t)
	w.login()
	w.store.broken.Store(true)
	if status, _ := w.get("/app"); status != http.StatusServiceUnavailable {
		t.Errorf("status %d", status)
	}
	w.want("oidcgate.store.operation.duration{error.type=_OTHER,oidcgate.store.operation=get}", -1)
	w.want("oidcgate.event.delivered{oidcgate.event.type=store.unavailable}", 1)
	w.do(http.MethodPost, "/auth/logout")
	if s := w.below("oidcgate.store.get", "oidcgate.logout"); s.Status.Code != codes.Error || text(s.Attributes) != "{error.type=_OTHER,oidcgate.store.operation=get}" {
		t.Errorf("%v %s", s.Status, text(s.Attributes))
	}
	w.clean()
}

var parameters = regexp.MustCompile(`\b(code|state|token|nonce)=`)

// clean checks that no metric and no span has what strangers or errors say, or who logged in.
func (w *world) clean() {
	w.Helper()
	for name := range w.metrics() {
		if strings.Contains(name, canary) || strings.Contains(name, "alice") {
			w.Errorf("a metric says %s", name)
		}
	}
	for _, s := range w.spans.GetSpans() {
		said := fmt.Sprint(s.Name, text(s.Attributes), s.Status, s.Events, s.Links)
		if strings.Contains(said, canary) || strings.Contains(said, "alice") || parameters.MatchString(said) {
			w.Errorf("a span says %s", said)
		}
	}
}

// The values of attributes of metrics come from lists. A login with texts of strangers in every
// place does not add any.
func TestMetricsHaveFewValues(t *testing.T) {
	reasons := map[string]bool{}
	for _, group := range event.Reasons {
		for _, about := range group.List {
			reasons[about.Name] = true
		}
	}
	lists := map[string]func(string) bool{
		"oidcgate.provider": func(v string) bool { return v == "main" },
		"oidcgate.reason":   func(v string) bool { return reasons[v] || v == "op_error:other" },
		"oidcgate.event.type": func(v string) bool {
			return slices.ContainsFunc(event.Types, func(g event.Group) bool {
				return slices.ContainsFunc(g.List, func(a event.About) bool { return a.Name == v })
			})
		},
		"oidcgate.purpose": func(v string) bool {
			return slices.Contains([]string{"discovery", "keys", "token", "userinfo", "refresh"}, v)
		},
		"oidcgate.store.operation": func(v string) bool {
			return slices.Contains([]string{"get", "create", "swap", "delete", "add", "members", "remove", "batch"}, v)
		},
		"http.response.status_code": func(v string) bool { return len(v) == 3 },
		"error.type":                func(v string) bool { return v == "404" || v == "_OTHER" || v == "timeout" },
	}
	w := newWorld(t)
	for _, path := range []string{
		"/auth/callback/main?error=" + canary, "/auth/callback/" + canary, "/auth/login?return_to=//" + canary, "/auth/login?provider=" + canary,
		"/auth/callback/main?code=" + canary + "&state=" + canary, "/auth/logout/done?state=" + canary, "/auth/frontchannel-logout/main?sid=" + canary,
		"/app", "/" + canary,
	} {
		w.get(path)
	}
	w.do(canary, "/auth/login")
	w.op.Inject(oidcgatetest.Userinfo, oidcgatetest.Answer(404, "text/html", canary))
	w.browser.Jar = nil
	w.get("/app")
	checked := 0
	for name := range w.metrics() {
		_, attrs, _ := strings.Cut(strings.TrimSuffix(name, "}"), "{")
		if attrs == "" {
			continue
		}
		for attr := range strings.SplitSeq(attrs, ",") {
			key, value, _ := strings.Cut(attr, "=")
			if known := lists[key]; known == nil || !known(value) {
				t.Errorf("%s: %s is %q", name, key, value)
			}
			checked++
		}
	}
	if checked < 30 {
		t.Errorf("only %d attributes found", checked)
	}
	w.clean()
}

// Every event is counted by its type, and some have a counter of their own.
func TestEachEvent(t *testing.T) {
	own := map[oidcgate.EventType]string{
		oidcgate.EventLoginStarted: "oidcgate.login.started{oidcgate.provider=p}", oidcgate.EventLoginSucceeded: "oidcgate.login.succeeded{oidcgate.provider=p}",
		oidcgate.EventLoginFailed: "oidcgate.login.refused{oidcgate.provider=p,oidcgate.reason=why}", oidcgate.EventSessionCreated: "oidcgate.session.begun{oidcgate.provider=p}",
		oidcgate.EventSessionExpired: "oidcgate.session.ended{oidcgate.provider=p,oidcgate.reason=why}", oidcgate.EventSessionRevoked: "oidcgate.session.ended{oidcgate.provider=p,oidcgate.reason=why}",
		oidcgate.EventRefreshSucceeded: "oidcgate.refresh.succeeded{oidcgate.provider=p}", oidcgate.EventRefreshFailed: "oidcgate.refresh.failed{oidcgate.provider=p,oidcgate.reason=why}",
		oidcgate.EventRefreshReuseSuspected: "oidcgate.refresh.failed{oidcgate.provider=p,oidcgate.reason=why}",
	}
	for _, group := range event.Types {
		for _, about := range group.List {
			reader := metric.NewManualReader()
			opts := oidcgateotel.Options{MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), TracerProvider: trace.NewTracerProvider()}
			kind := oidcgate.EventType(about.Name)
			oidcgateotel.Instrument(oidcgate.Config{}, opts).OnEvent(oidcgate.Event{Type: kind, Provider: "p", Reason: "why", Detail: canary})
			var got []string
			for _, m := range (&world{T: t, reader: reader}).collected() {
				got = append(got, m.Name+text(m.Data.(metricdata.Sum[int64]).DataPoints[0].Attributes.ToSlice()))
			}
			want := []string{"oidcgate.event.delivered{oidcgate.event.type=" + about.Name + ",oidcgate.provider=p,oidcgate.reason=why}"}
			if name := own[kind]; name != "" {
				want = append(want, name)
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("%s counts %q, want %q", about.Name, got, want)
			}
		}
	}
}

func TestOmitProvider(t *testing.T) {
	w := newWorld(t, func(_ *oidcgate.Config, _ *oidcgate.Provider, o *oidcgateotel.Options) { o.OmitProvider = true })
	w.login()
	w.want("oidcgate.login.succeeded{}", 1)
	w.want("oidcgate.provider.request.duration{http.response.status_code=200,oidcgate.purpose=token}", 1)
	for name := range w.metrics() {
		if strings.Contains(name, "oidcgate.provider=") {
			t.Error(name)
		}
	}
	if got := text(w.span("oidcgate.token").Attributes); !strings.Contains(got, "oidcgate.provider=main") {
		t.Errorf("the span lost its provider: %s", got)
	}
}

func TestWhatIsWrappedGoesOn(t *testing.T) {
	var types []oidcgate.EventType
	pages, requests := 0, 0
	w := newWorld(t, func(c *oidcgate.Config, _ *oidcgate.Provider, _ *oidcgateotel.Options) {
		c.OnEvent = func(e oidcgate.Event) { types = append(types, e.Type) }
		c.Page = func(w http.ResponseWriter, _ *http.Request, p oidcgate.Page) bool {
			pages++
			w.WriteHeader(p.Status)
			_, _ = w.Write([]byte("our page"))
			return true
		}
		c.HTTP.Wrap = func(next http.RoundTripper) http.RoundTripper {
			return roundTripper(func(r *http.Request) (*http.Response, error) {
				requests++
				if !oteltrace.SpanContextFromContext(r.Context()).IsValid() {
					t.Errorf("a transport inside sees no span at %s", r.URL)
				}
				return next.RoundTrip(r)
			})
		}
	})
	if err := w.gate.Ready(t.Context()); err != nil { // a request of no visitor
		t.Error(err)
	}
	if _, page := w.get("/auth/callback/main?state=x&code=y"); page != "our page" {
		t.Errorf("the page is %q", page)
	}
	w.login()
	w.metrics() // waits
	if !slices.Contains(types, oidcgate.EventLoginSucceeded) || pages != 1 || requests < 3 {
		t.Errorf("events %v, %d pages, %d requests", types, pages, requests)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A handler of the application gets the ResponseWriter as the server made it.
func TestHandlerLeavesTheApplicationAlone(t *testing.T) {
	w := newWorld(t)
	var given, seen http.ResponseWriter
	h := oidcgateotel.Handler(w.gate, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { seen = rw }), oidcgateotel.Options{})
	given = writer{}
	r, _ := http.NewRequest(http.MethodGet, shopURL+"/app", nil)
	h.ServeHTTP(given, r)
	if seen != given {
		t.Errorf("the handler got a %T", seen)
	}
	r.URL.Path = "/auth/login"
	h.ServeHTTP(given, r)
	if unwrapper, ok := seen.(interface{ Unwrap() http.ResponseWriter }); !ok || unwrapper.Unwrap() != given {
		t.Errorf("the gate got a %T", seen)
	}
}

type writer struct{ http.ResponseWriter }

func TestGlobalProviders(t *testing.T) {
	reader, spans := metric.NewManualReader(), tracetest.NewInMemoryExporter()
	otel.SetMeterProvider(metric.NewMeterProvider(metric.WithReader(reader)))
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithSyncer(spans)))
	w := newWorld(t, func(_ *oidcgate.Config, _ *oidcgate.Provider, o *oidcgateotel.Options) { *o = oidcgateotel.Options{} })
	w.login()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil || len(all.ScopeMetrics) != 1 || len(spans.GetSpans()) == 0 {
		t.Errorf("%v, %d scopes, %d spans", err, len(all.ScopeMetrics), len(spans.GetSpans()))
	}
}

// instrumented returns the store that the gate gets.
func instrumented(s store.Store) store.Store {
	opts := oidcgateotel.Options{MeterProvider: metric.NewMeterProvider(), TracerProvider: trace.NewTracerProvider()}
	return oidcgateotel.Instrument(oidcgate.Config{Store: s}, opts).Store
}

func TestStore(t *testing.T) {
	t.Run("a measured store keeps the promises of a store", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return instrumented(struct{ store.Store }{&store.Memory{}}) })
	})
	t.Run("and those of a batcher", func(t *testing.T) {
		storetest.Run(t, func(*testing.T) store.Store { return instrumented(&store.Memory{}) })
	})
	t.Run("a store that is no Batcher does not become one", func(t *testing.T) {
		if _, is := instrumented(struct{ store.Store }{&store.Memory{}}).(store.Batcher); is {
			t.Error("it did")
		}
	})
	t.Run("no store stays no store", func(t *testing.T) {
		if _, is := instrumented(&store.Memory{}).(store.Batcher); !is {
			t.Error("a store in memory is a Batcher no more")
		}
		if s := instrumented(nil); s != nil {
			t.Errorf("it is a %T", s)
		}
	})
	t.Run("a batch goes on in one piece, and is measured", func(t *testing.T) {
		reader, spans := metric.NewManualReader(), tracetest.NewInMemoryExporter()
		tracer := trace.NewTracerProvider(trace.WithSyncer(spans))
		b := &batcher{Memory: &store.Memory{}}
		s := oidcgateotel.Instrument(oidcgate.Config{Store: b}, oidcgateotel.Options{
			MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), TracerProvider: tracer,
		}).Store
		ctx, parent := tracer.Tracer("test").Start(t.Context(), "parent")
		results := store.Do(ctx, s, []store.Op{{Action: store.OpGet, Key: "a"}, {Action: store.OpDelete, Key: "b"}})
		parent.End()
		_, _ = s.Get(t.Context(), "a")
		if b.batches != 1 || len(results) != 2 || !errors.Is(results[1].Err, errBroken) {
			t.Errorf("%d batches, results %v", b.batches, results)
		}
		w := &world{T: t, reader: reader, spans: spans}
		if n := len(spans.GetSpans()); n != 2 {
			t.Errorf("%d spans, want 2: a call without a request makes none", n)
		}
		got := w.below("oidcgate.store.batch", "parent")
		if a := text(got.Attributes); a != "{error.type=_OTHER,oidcgate.store.batch.size=2,oidcgate.store.operation=batch}" {
			t.Error(a)
		}
	})
	t.Run("errors pass as they are, and are told apart", func(t *testing.T) {
		for _, row := range []struct {
			err  error
			kind string
		}{
			{store.ErrNotFound, ""}, {store.ErrExists, ""}, {store.ErrConflict, ""}, {store.ErrFull, "full"},
			{context.Canceled, "canceled"}, {context.DeadlineExceeded, "timeout"}, {errBroken, "_OTHER"}, {nil, ""},
		} {
			reader := metric.NewManualReader()
			s := oidcgateotel.Instrument(oidcgate.Config{Store: failing{err: row.err}}, oidcgateotel.Options{
				MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), TracerProvider: trace.NewTracerProvider(),
			}).Store
			_, get := s.Get(t.Context(), "k")
			create, swap := s.Create(t.Context(), "k", nil, 1), s.Swap(t.Context(), "k", nil, nil, 1)
			del, add := s.Delete(t.Context(), "k", nil), s.Add(t.Context(), "s", "m", 1)
			_, members := s.Members(t.Context(), "s")
			remove := s.Remove(t.Context(), "s", "m")
			for _, err := range []error{get, create, swap, del, add, members, remove} {
				if err != row.err { //nolint:errorlint // the very same
					t.Errorf("got %v, want %v", err, row.err)
				}
			}
			want := 7
			for _, m := range (&world{T: t, reader: reader}).collected() {
				for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
					want--
					if kind, _ := p.Attributes.Value("error.type"); kind.AsString() != row.kind {
						t.Errorf("%v is %q, want %q", row.err, kind.AsString(), row.kind)
					}
				}
			}
			if want != 0 {
				t.Errorf("%v: %d operations are missing", row.err, want)
			}
		}
	})
	t.Run("a panic passes, and is measured", func(t *testing.T) {
		reader := metric.NewManualReader()
		s := oidcgateotel.Instrument(oidcgate.Config{Store: failing{panics: true}}, oidcgateotel.Options{
			MeterProvider: metric.NewMeterProvider(metric.WithReader(reader)), TracerProvider: trace.NewTracerProvider(),
		}).Store
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was lost")
				}
			}()
			_, _ = s.Get(t.Context(), "k")
		}()
		p := (&world{T: t, reader: reader}).collected()[0].Data.(metricdata.Histogram[float64]).DataPoints[0]
		if kind, _ := p.Attributes.Value("error.type"); kind.AsString() != "panic" {
			t.Errorf("it is %q", kind.AsString())
		}
	})
}

// batcher is a store that takes batches. Deletions in them fail.
type batcher struct {
	*store.Memory
	batches int
}

func (b *batcher) Batch(ctx context.Context, ops []store.Op) []store.Result {
	b.batches++
	results := store.Do(ctx, b.Memory, ops)
	for i, op := range ops {
		if op.Key == "b" {
			results[i].Err = errBroken
		}
	}
	return results
}

// failing fails every operation.
type failing struct {
	store.Store
	err    error
	panics bool
}

func (f failing) Get(context.Context, string) ([]byte, error) {
	if f.panics {
		panic("the store")
	}
	return nil, f.err
}
func (f failing) Create(context.Context, string, []byte, time.Duration) error       { return f.err }
func (f failing) Swap(context.Context, string, []byte, []byte, time.Duration) error { return f.err }
func (f failing) Delete(context.Context, string, []byte) error                      { return f.err }
func (f failing) Add(context.Context, string, string, time.Duration) error          { return f.err }
func (f failing) Members(context.Context, string) ([]string, error)                 { return nil, f.err }
func (f failing) Remove(context.Context, string, string) error                      { return f.err }
