package op_test

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oidcgate/oidcgate/internal/op"
)

// asked returns the parameters of a login with these options, beyond those of every login.
func asked(t *testing.T, o *testOP, own op.LoginOptions, link url.Values, changes ...func(*op.Config)) (url.Values, error) {
	t.Helper()
	c := o.client(changes...)
	options, err := c.Options(link, own)
	if err != nil {
		return nil, err
	}
	r := aLogin()
	r.Options, r.MaxAge, r.ACRValues, r.IDTokenHint = options.Encode(), options.Fresh(), options.ACRValues, options.IDTokenHint
	address, err := c.AuthorizationURL(t.Context(), r)
	if err != nil {
		return nil, err
	}
	q := query(t, address)
	for _, name := range []string{
		"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	} {
		if len(q[name]) != 1 || link.Get(name) == q.Get(name) {
			t.Errorf("C024 %s is %q", name, q[name])
		}
		q.Del(name)
	}
	return q, nil
}

func TestOptions(t *testing.T) {
	all := op.LoginOptions{
		Prompt: "select_account consent", MaxAge: 90 * time.Second, ACRValues: []string{"gold", "silver"},
		LoginHint: "jane@example.org", IDTokenHint: "a.b.c", UILocales: []string{"de-CH", "de"}, Display: "touch",
		Claims:               `{"id_token":{"email":null}}`,
		AuthorizationDetails: `[{"type":"payment"}]`,
		Params:               map[string]string{"kc_idp_hint": "a b&c"},
	}
	every := url.Values{
		"prompt": {"select_account consent"}, "max_age": {"90"}, "acr_values": {"gold silver"}, "login_hint": {"jane@example.org"},
		"id_token_hint": {"a.b.c"}, "ui_locales": {"de-CH de"}, "display": {"touch"}, "claims": {`{"id_token":{"email":null}}`},
		"authorization_details": {`[{"type":"payment"}]`}, "kc_idp_hint": {"a b&c"},
	}
	without := func(v url.Values, names ...string) url.Values {
		v = maps.Clone(v)
		for _, name := range names {
			v.Del(name)
		}
		return v
	}
	links := func(cfg *op.Config) {
		cfg.LinkParams = []string{"login_hint", "ui_locales", "display", "prompt", "max_age", "acr_values", "kc_idp_hint"}
	}
	params := func(cfg *op.Config) {
		cfg.AuthParams = [][2]string{{"login_hint", "everybody"}, {"prompt", "none"}, {"other", "1"}}
	}
	weaker := func(cfg *op.Config) {
		cfg.Login = op.LoginOptions{MaxAge: time.Minute, ACRValues: []string{"gold", "silver"}}
		links(cfg)
	}
	const (
		gold = `{"id_token":{"acr":{"essential":true,"values":["gold"]}}}`
		one  = `{"id_token":{"acr":{"essential":true,"value":"gold"}}}`
	)
	essential := func(cfg *op.Config) {
		cfg.EssentialACR = true
		links(cfg)
	}
	demands := func(cfg *op.Config) {
		cfg.Login.Claims = gold
		essential(cfg)
	}
	consents := func(cfg *op.Config) {
		cfg.Login.Prompt = "consent"
		links(cfg)
	}
	for _, tt := range []struct {
		name   string
		own    op.LoginOptions
		link   string
		change func(*op.Config)
		want   url.Values
	}{
		{"C024 nothing", op.LoginOptions{}, "", func(*op.Config) {}, url.Values{}},
		{"C024 of the application", all, "", func(*op.Config) {}, every},
		{"C024 of the configuration", op.LoginOptions{}, "", func(cfg *op.Config) { cfg.Login = all }, every},
		{"C024 the application's win over the configured ones", op.LoginOptions{LoginHint: "joe", Params: map[string]string{"x": "y"}}, "",
			func(cfg *op.Config) {
				cfg.Login = op.LoginOptions{LoginHint: "jane", Display: "page", Params: map[string]string{"z": "1"}}
			},
			url.Values{"login_hint": {"joe"}, "display": {"page"}, "x": {"y"}, "z": {"1"}}},
		{"C024 both win over Params", op.LoginOptions{LoginHint: "joe", Prompt: "consent"}, "", params,
			url.Values{"login_hint": {"joe"}, "prompt": {"consent"}, "other": {"1"}}},
		{"C024 a link chooses nothing", op.LoginOptions{}, every.Encode() + "&state=evil&scope=admin&redirect_uri=evil&client_id=evil&nonce=evil&request=r&request_uri=u&response_mode=fragment&resource=x", func(*op.Config) {}, url.Values{}},
		{"C024 a link chooses what it may", op.LoginOptions{}, every.Encode(), links, without(every, "id_token_hint", "claims", "authorization_details")},
		{"C024 the application's win over the link's", op.LoginOptions{LoginHint: "joe"}, "login_hint=jane", links, url.Values{"login_hint": {"joe"}}},
		{"C024 a parameter twice in a link", op.LoginOptions{}, "login_hint=a&login_hint=b&display=page", links, url.Values{"display": {"page"}}},
		{"C024 a long parameter in a link", op.LoginOptions{}, "login_hint=" + strings.Repeat("a", 257), links, url.Values{}},
		{"C024 a parameter of 256 bytes in a link", op.LoginOptions{}, "login_hint=" + strings.Repeat("a", 256), links, url.Values{"login_hint": {strings.Repeat("a", 256)}}},
		{"C024 a line break in a link", op.LoginOptions{}, "login_hint=a%0d%0ab&display=page", links, url.Values{"display": {"page"}}},
		{"C024 no text in a link", op.LoginOptions{}, "login_hint=%ff", links, url.Values{}},
		{"C024 prompt=none in a link", op.LoginOptions{}, "prompt=none", links, url.Values{}},
		{"C024 a list that is none in a link", op.LoginOptions{}, "acr_values=%C3%A4", links, url.Values{}},
		{"C024 max_age=0 in a link", op.LoginOptions{}, "max_age=0", links, url.Values{}},
		{"C024 JSON in several lines", op.LoginOptions{Claims: "{\n\t\"id_token\": null\n}", AuthorizationDetails: "[\n\t{\"type\": \"payment\"}\n]"}, "", func(*op.Config) {},
			url.Values{"claims": {"{\n\t\"id_token\": null\n}"}, "authorization_details": {"[\n\t{\"type\": \"payment\"}\n]"}}},
		{"C024 max_age that is no number in a link", op.LoginOptions{}, "max_age=-1", links, url.Values{}},
		{"C025 prompt=login has auth_time sent", op.LoginOptions{Prompt: "login"}, "", func(*op.Config) {}, url.Values{"prompt": {"login"}, "max_age": {"0"}}},
		{"C025 PromptLogin beside a prompt of the application", op.LoginOptions{MaxAge: time.Minute, Prompt: "consent"}, "", func(cfg *op.Config) { cfg.PromptLogin = true }, url.Values{"prompt": {"consent"}, "max_age": {"60"}}},
		{"C025 PromptLogin", op.LoginOptions{MaxAge: time.Minute}, "", func(cfg *op.Config) { cfg.PromptLogin = true }, url.Values{"prompt": {"login"}, "max_age": {"60"}}},
		{"C025 a link to register does not take away the configured login", op.LoginOptions{}, "prompt=create", func(cfg *op.Config) { cfg.Login.Prompt = "login" }, url.Values{"prompt": {"create"}, "max_age": {"0"}}},
		{"C025 nor beside an age of the application", op.LoginOptions{MaxAge: time.Minute}, "prompt=create", func(cfg *op.Config) { cfg.Login.Prompt = "login" }, url.Values{"prompt": {"create"}, "max_age": {"0"}}},
		{"C025 the application takes the configured login away", op.LoginOptions{Prompt: "consent"}, "prompt=create", func(cfg *op.Config) { cfg.Login.Prompt = "login" }, url.Values{"prompt": {"consent"}}},
		{"C025 a link asks for less", op.LoginOptions{}, "max_age=999&acr_values=bronze", weaker, url.Values{"max_age": {"60"}, "acr_values": {"gold silver"}}},
		{"C025 a link asks for more", op.LoginOptions{}, "max_age=5&acr_values=bronze+silver", weaker, url.Values{"max_age": {"5"}, "acr_values": {"silver"}}},
		{"C025 a link asks for a class that the configured claims do not name", op.LoginOptions{}, "acr_values=bronze", demands, url.Values{"claims": {gold}, "acr_values": {"gold"}}},
		{"C025 a link asks for one of those that they name", op.LoginOptions{}, "acr_values=bronze+gold", demands, url.Values{"claims": {gold}, "acr_values": {"gold"}}},
		{"C025 nor those that the claims of the application do not name", op.LoginOptions{Claims: one}, "acr_values=bronze", essential, url.Values{"claims": {gold}, "acr_values": {"gold"}}},
		{"C067 classes of ACRValues that the claims do not demand are not enough", op.LoginOptions{Claims: one, ACRValues: []string{"silver", "gold"}}, "", func(*op.Config) {}, url.Values{"claims": {one}, "acr_values": {"gold"}}},
		{"C067 those of ACRValues that the claims demand are enough", op.LoginOptions{Claims: `{"id_token":{"acr":{"essential":true,"values":["gold","bronze"]}}}`, ACRValues: []string{"silver", "gold"}}, "", func(*op.Config) {}, url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["gold","bronze"]}}}`}, "acr_values": {"gold"}}},
		{"C067 classes that the claims only prefer", op.LoginOptions{Claims: `{"id_token":{"acr":{"values":["gold"]}}}`}, "", func(*op.Config) {}, url.Values{"claims": {`{"id_token":{"acr":{"values":["gold"]}}}`}}},
		{"C025 both count, the configured classes and those of the claims", op.LoginOptions{Claims: `{"id_token":{"acr":{"values":["gold","bronze"]}}}`}, "acr_values=bronze+silver", weaker,
			url.Values{"claims": {`{"id_token":{"acr":{"values":["gold","bronze"]}}}`}, "acr_values": {"gold silver"}, "max_age": {"60"}}},
		{"C025 claims that name no class", op.LoginOptions{Claims: `{"id_token":{"acr":null}}`}, "acr_values=gold", essential, url.Values{"claims": {gold}, "acr_values": {"gold"}}},
		{"C025 a link beside the classes of the application", op.LoginOptions{ACRValues: []string{"gold"}}, "acr_values=bronze&max_age=999", essential, url.Values{"claims": {gold}, "acr_values": {"gold"}, "max_age": {"999"}}},
		{"C025 a longer max_age than that of the application", op.LoginOptions{MaxAge: time.Minute}, "max_age=999", links, url.Values{"max_age": {"60"}}},
		{"C025 a link beside prompt=login of the application", op.LoginOptions{Prompt: "login"}, "max_age=999&prompt=consent", links, url.Values{"prompt": {"login"}, "max_age": {"0"}}},
		{"C025 a link's prompt stands beside the configured one", op.LoginOptions{}, "prompt=select_account", consents, url.Values{"prompt": {"consent select_account"}}},
		{"C025 each word once", op.LoginOptions{}, "prompt=login+consent", consents, url.Values{"prompt": {"consent login"}, "max_age": {"0"}}},
		{"C025 beside that of Params", op.LoginOptions{}, "prompt=consent", func(cfg *op.Config) {
			cfg.AuthParams = [][2]string{{"prompt", "login"}}
			links(cfg)
		}, url.Values{"prompt": {"login consent"}, "max_age": {"0"}}},
		{"C025 another parameter of Params demands nothing", op.LoginOptions{}, "prompt=consent", func(cfg *op.Config) {
			cfg.AuthParams = [][2]string{{"audience", "login"}}
			links(cfg)
		}, url.Values{"prompt": {"consent"}, "audience": {"login"}}},
		{"C025 in place of none", op.LoginOptions{}, "prompt=consent", func(cfg *op.Config) {
			cfg.Login.Prompt = "none"
			links(cfg)
		}, url.Values{"prompt": {"consent"}}},
		{"C024 a link to register", op.LoginOptions{}, "prompt=create", func(*op.Config) {}, url.Values{"prompt": {"create"}}},
		{"C024 resources", op.LoginOptions{}, "", func(cfg *op.Config) { cfg.Resources = []string{"https://a.example/", "https://b.example/?x=1&y"} },
			url.Values{"resource": {"https://a.example/", "https://b.example/?x=1&y"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			link, err := url.ParseQuery(tt.link)
			if err != nil {
				t.Fatal(err)
			}
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": "https://id.example/authorize?p=b2c"})))
			got, err := asked(t, o, tt.own, link, tt.change)
			wantReason(t, err, "")
			if !maps.EqualFunc(got, tt.want, slices.Equal) {
				t.Errorf("parameters %v, want %v", got, tt.want)
			}
		})
	}
}

func TestOptionsAreRefused(t *testing.T) {
	for _, tt := range []struct {
		name, field string
		own         op.LoginOptions
	}{
		{"C024 none beside another prompt", "Prompt", op.LoginOptions{Prompt: "none login"}},
		{"C024 a prompt with a line break", "Prompt", op.LoginOptions{Prompt: "login\nnone"}},
		{"C024 two spaces between two prompts", "Prompt", op.LoginOptions{Prompt: "login  consent"}},
		{"C024 a space before a prompt", "Prompt", op.LoginOptions{Prompt: " login"}},
		{"C024 a prompt beyond ASCII", "Prompt", op.LoginOptions{Prompt: "login \u00e4"}},
		{"C024 half a second", "MaxAge", op.LoginOptions{MaxAge: time.Second / 2}},
		{"C024 a negative age", "MaxAge", op.LoginOptions{MaxAge: -time.Second}},
		{"C024 an empty acr", "ACRValues", op.LoginOptions{ACRValues: []string{""}}},
		{"C024 two acr in one", "ACRValues", op.LoginOptions{ACRValues: []string{"a b"}}},
		{"C024 two languages in one", "UILocales", op.LoginOptions{UILocales: []string{"de en"}}},
		{"C024 a long hint", "IDTokenHint", op.LoginOptions{IDTokenHint: strings.Repeat("a", 4096)}},
		{"C024 claims that are a list", "Claims", op.LoginOptions{Claims: `[]`}},
		{"C024 claims with a member twice", "Claims", op.LoginOptions{Claims: `{"userinfo":{},"userinfo":{}}`}},
		{"C024 claims and more", "Claims", op.LoginOptions{Claims: `{} {}`}},
		{"C024 details that are an object", "AuthorizationDetails", op.LoginOptions{AuthorizationDetails: `{"type":"a"}`}},
		{"C024 details without a type", "AuthorizationDetails", op.LoginOptions{AuthorizationDetails: `[{"type":"a"},{}]`}},
		{"C024 details that break out", "AuthorizationDetails", op.LoginOptions{AuthorizationDetails: `[{"type":"a"}],"x":[]`}},
		{"C024 a login hint with a line break", "Params", op.LoginOptions{LoginHint: "a\r\nb"}},
		{"C024 a long parameter", "Params", op.LoginOptions{Params: map[string]string{"x": strings.Repeat("a", 9000)}}},
		{"C024 a parameter without a name", "Params", op.LoginOptions{Params: map[string]string{"": "x"}}},
		{"C024 a parameter of the protocol", "Params", op.LoginOptions{Params: map[string]string{"Redirect_URI": "https://evil.example"}}},
		{"C024 a parameter with a field", "Params", op.LoginOptions{Params: map[string]string{"claims": "{}"}}},
		{"C024 a login hint, which a link may have too", "Params", op.LoginOptions{Params: map[string]string{"login_hint": "alice"}}},
		{"C024 languages", "Params", op.LoginOptions{Params: map[string]string{"ui_locales": "de"}}},
		{"C024 the display", "Params", op.LoginOptions{Params: map[string]string{"Display": "page"}}},
		{"C099 the subject of a signed request", "Params", op.LoginOptions{Params: map[string]string{"sub": "shop"}}},
		{"C099 the audience of a signed request", "Params", op.LoginOptions{Params: map[string]string{"aud": "x"}}},
		{"C024 the prompt", "Params", op.LoginOptions{Params: map[string]string{"prompt": "none"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newOP().client().Options(nil, tt.own)
			e := wantReason(t, err, "login_options")
			if e.Status != http.StatusInternalServerError || !strings.HasPrefix(e.Err.Error(), tt.field+" ") {
				t.Errorf("status %d and %v, want 500 about %s", e.Status, e.Err, tt.field)
			}
			cfg := newOP().config(func(cfg *op.Config) { cfg.Login = tt.own })
			if faults := cfg.Faults(); len(faults) != 1 || faults[0].Field != "Request.Login."+tt.field {
				t.Errorf("faults %v, want one of %s", faults, tt.field)
			}
		})
	}
}

func TestOptionFaults(t *testing.T) {
	for name, change := range map[string]func(*op.Config){
		"C024 Request.LinkParams redirect_uri":          func(cfg *op.Config) { cfg.LinkParams = []string{"redirect_uri"} },
		"C024 Request.LinkParams id_token_hint":         func(cfg *op.Config) { cfg.LinkParams = []string{"id_token_hint"} },
		"C024 Request.LinkParams authorization_details": func(cfg *op.Config) { cfg.LinkParams = []string{"authorization_details"} },
		"C024 Request.LinkParams return_to":             func(cfg *op.Config) { cfg.LinkParams = []string{"return_to"} },
		"C024 Request.LinkParams empty":                 func(cfg *op.Config) { cfg.LinkParams = []string{""} },
		"C024 Request.Params claims":                    func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"claims", "{}"}} },
		"C024 Request.Params resource":                  func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"resource", "https://a.example"}} },
		"C024 Request.Params authorization_details":     func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"authorization_details", "[]"}} },
		"C099 Request.LinkParams sub":                   func(cfg *op.Config) { cfg.LinkParams = []string{"sub"} },
		"C099 Request.LinkParams jti":                   func(cfg *op.Config) { cfg.LinkParams = []string{"jti"} },
		"C099 Request.Params exp":                       func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"exp", "1"}} },
		"C099 Request.Params Sub":                       func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"Sub", "1"}} },
		"C024 Request.Params without a name":            func(cfg *op.Config) { cfg.AuthParams = [][2]string{{"", "1"}} },
		"C003 Endpoints.EndSession on http":             func(cfg *op.Config) { cfg.Endpoints.EndSession = "http://id.example/bye" },
		"C024 Request.Resources relative":               func(cfg *op.Config) { cfg.Resources = []string{"/a"} },
		"C024 Request.Resources that is no address":     func(cfg *op.Config) { cfg.Resources = []string{"https://a.example/%zz"} },
		"C024 Request.Resources with a fragment":        func(cfg *op.Config) { cfg.Resources = []string{"https://a.example/#"} },
		"C024 Request.Resources with a space":           func(cfg *op.Config) { cfg.Resources = []string{"https://a.example/ b"} },
		"C096 Request.Pushed 7":                         func(cfg *op.Config) { cfg.Pushed = 7 },
		"C096 Endpoints.PushedAuthorization on http":    func(cfg *op.Config) { cfg.Endpoints.PushedAuthorization = "http://id.example/par" },
		"C096 Endpoints.PushedAuthorization and off": func(cfg *op.Config) {
			cfg.Pushed, cfg.Endpoints.PushedAuthorization = op.PushedOff, "https://id.example/par"
		},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := newOP().config(change)
			faults := cfg.Faults()
			if field := strings.Fields(name)[1]; len(faults) != 1 || faults[0].Field != field {
				t.Errorf("faults %v, want one of %s", faults, field)
			}
		})
	}
}

func TestPromptIsAnnounced(t *testing.T) {
	for _, tt := range []struct {
		name, prompt string
		announced    any
		reason       string
	}{
		{"C024 a prompt that is announced", "create", []string{"none", "create"}, ""},
		{"C024 prompts that are not", "create", []string{"none", "login"}, "prompt_unsupported"},
		{"C024 one of two that is not", "login create", []string{"none", "login"}, "prompt_unsupported"},
		{"C024 no list", "create", nil, ""},
		{"C006 a list that is a string", "create", "create", "metadata_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := newOP()
			o.set("discovery", answerJSON(metadata(map[string]any{"prompt_values_supported": tt.announced})))
			_, err := asked(t, o, op.LoginOptions{Prompt: tt.prompt}, nil)
			if e := wantReason(t, err, tt.reason); tt.reason == "prompt_unsupported" && e.Status != http.StatusBadRequest {
				t.Errorf("status %d", e.Status)
			}
		})
	}
}

func TestOptionOfTheEndpoint(t *testing.T) {
	const address = "https://id.example/authorize?login_hint=x"
	o := newOP()
	o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": address})))
	t.Run("C024 a parameter that the endpoint has already", func(t *testing.T) {
		_, err := asked(t, o, op.LoginOptions{LoginHint: "jane"}, nil)
		wantReason(t, err, "endpoint_invalid")
	})
	t.Run("C024 a parameter of links that the endpoint has already", func(t *testing.T) {
		_, err := o.client(func(cfg *op.Config) { cfg.LinkParams = []string{"login_hint"} }).Metadata(t.Context())
		wantReason(t, err, "endpoint_invalid")
	})
	t.Run("C024 a claims parameter of the endpoint", func(t *testing.T) {
		o.set("discovery", answerJSON(metadata(map[string]any{"authorization_endpoint": "https://id.example/authorize?claims={}"})))
		_, err := o.client().Metadata(t.Context())
		wantReason(t, err, "endpoint_invalid")
	})
}

func TestObjectMembers(t *testing.T) {
	t.Run("C099 JSON and several values in an object", func(t *testing.T) {
		c := newOP().client(signing(op.ObjectSigned, clientKey), func(cfg *op.Config) {
			cfg.Resources = []string{"https://a.example", "https://b.example"}
			cfg.Login = op.LoginOptions{Claims: `{"id_token":{"email":null}}`, AuthorizationDetails: `[{"type":"payment"}]`}
		})
		options, err := c.Options(nil, op.LoginOptions{})
		wantReason(t, err, "")
		r := aLogin()
		r.Options = options.Encode()
		address, err := c.AuthorizationURL(t.Context(), r)
		wantReason(t, err, "")
		_, claims := opened(t, query(t, address).Get("request"))
		for name, want := range map[string]string{
			"claims": `{"id_token":{"email":null}}`, "authorization_details": `[{"type":"payment"}]`,
			"resource": `["https://a.example","https://b.example"]`,
		} {
			if got := encode(claims[name]); got != want {
				t.Errorf("C099 %s is %s, want %s", name, got, want)
			}
		}
	})
}

func TestResourcesAtTheTokenEndpoint(t *testing.T) {
	o := newOP()
	var forms []url.Values
	o.set("token", func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			panic(err)
		}
		forms = append(forms, r.PostForm)
		answerJSON(map[string]any{
			"access_token": "at", "token_type": "Bearer", "id_token": goodToken(),
			"authorization_details": []any{map[string]any{"type": "payment", "amount": 7}},
		})(w, r)
	})
	resources := []string{"https://a.example", "https://b.example"}
	c := o.client(func(cfg *op.Config) { cfg.Resources = resources })
	tokens, err := c.Exchange(t.Context(), "code", "verifier")
	wantReason(t, err, "")
	if want := `[{"amount":7,"type":"payment"}]`; tokens.AuthorizationDetails != want {
		t.Errorf("granted are %s, want %s", tokens.AuthorizationDetails, want)
	}
	_, err = c.Refresh(t.Context(), "refresh", "")
	wantReason(t, err, "")
	for _, form := range forms {
		if !slices.Equal(form["resource"], resources) {
			t.Errorf("C024 resource is %q for %s", form["resource"], form.Get("grant_type"))
		}
	}
}

// TestPlainAddress holds the address of a login that asks for nothing, byte for byte: registrations
// and rules of proxies may depend on it.
func TestPlainAddress(t *testing.T) {
	c := newOP().client()
	options, err := c.Options(url.Values{"return_to": {"/app"}}, op.LoginOptions{})
	wantReason(t, err, "")
	if options.Encode() != nil || options.Fresh() != nil || c.IsSilent(options) {
		t.Errorf("options %+v ask for something", options)
	}
	r := op.AuthorizationRequest{State: "st", Nonce: "no", CodeVerifier: "verifier", Options: options.Encode()}
	got, err := c.AuthorizationURL(t.Context(), r)
	wantReason(t, err, "")
	const want = "https://id.example/authorize?client_id=shop&code_challenge=iMnq5o6zALKXGivsnlom_0F5_WYda32GHkxlV7mq7hQ" +
		"&code_challenge_method=S256&nonce=no&redirect_uri=https%3A%2F%2Fapp.example%2Fauth%2Fcallback" +
		"&response_type=code&scope=openid+email&state=st"
	if got != want {
		t.Errorf("C024 a plain login goes to\n%s, want\n%s", got, want)
	}
}

// FuzzLink is about links that anybody makes: the request keeps the parameters of the protocol, and
// has each parameter once.
func FuzzLink(f *testing.F) {
	f.Add("login_hint=a&login_hint=b&prompt=none&state=x&redirect_uri=https://evil.example")
	f.Add("max_age=1e9&acr_values=%00&ui_locales=a++b&prompt=create&prompt=login")
	f.Add("display=%ff&kc_idp_hint=a%0d%0ab&scope=admin&request_uri=u")
	c := newOP().client(func(cfg *op.Config) {
		cfg.LinkParams = []string{"login_hint", "ui_locales", "display", "prompt", "max_age", "acr_values", "kc_idp_hint"}
	})
	f.Fuzz(func(t *testing.T, link string) {
		values, _ := url.ParseQuery(link)
		options, err := c.Options(values, op.LoginOptions{})
		if err != nil {
			t.Fatalf("a link fails a login: %v", err)
		}
		r := aLogin()
		r.Options, r.MaxAge, r.ACRValues = options.Encode(), options.Fresh(), options.ACRValues
		address, err := c.AuthorizationURL(t.Context(), r)
		if err != nil {
			t.Fatalf("a link fails a login: %v", err)
		}
		for name, got := range query(t, address) {
			own := map[string]string{
				"state": "hush-state", "client_id": clientID, "scope": "openid email", "response_type": "code",
				"redirect_uri": "https://app.example/auth/callback", "nonce": nonce, "code_challenge_method": "S256",
			}
			want, ours := own[name]
			if len(got) != 1 || ours && got[0] != want || name == "request_uri" || name == "prompt" && got[0] == "none" {
				t.Errorf("C024 %s is %q", name, got)
			}
		}
	})
}

func TestOptionsThatAreKept(t *testing.T) {
	t.Run("C024 what the configuration says too is not kept, and all else is", func(t *testing.T) {
		c := newOP().client(func(cfg *op.Config) {
			cfg.Login = op.LoginOptions{Display: "page", UILocales: []string{"de"}, Params: map[string]string{"same": "1", "other": "1"}}
		})
		kept := c.Kept(op.LoginOptions{Display: "page", UILocales: []string{"de"}, Params: map[string]string{"same": "1", "other": "2", "empty": ""}})
		if want := `{"m":{"empty":"","other":"2"}}`; string(kept) != want {
			t.Errorf("kept %s, want %s", kept, want)
		}
	})
	t.Run("C024 the link of a guard keeps that another account is wanted", func(t *testing.T) {
		c := newOP().client(func(cfg *op.Config) { cfg.LinkParams = []string{"prompt"} })
		values := c.LinkValues(url.Values{op.AnotherAccount: {"1"}, "prompt": {"consent"}, "evil": {"1"}})
		if want := (url.Values{op.AnotherAccount: {"1"}}); values.Encode() != want.Encode() {
			t.Errorf("values %v, want %v", values, want)
		}
	})
}

func TestIsSilent(t *testing.T) {
	for _, tt := range []struct {
		prompt string
		always string // of Request.Params
		want   bool
	}{
		{"none", "", true}, {"login", "", false}, {"", "", false}, {"", "none", true}, {"consent", "none", false},
	} {
		c := newOP().client(func(cfg *op.Config) {
			if tt.always != "" {
				cfg.AuthParams = [][2]string{{"prompt", tt.always}}
			}
		})
		if got := c.IsSilent(op.LoginOptions{Prompt: tt.prompt}); got != tt.want {
			t.Errorf("C024 prompt %q beside %q: %v", tt.prompt, tt.always, got)
		}
	}
}
