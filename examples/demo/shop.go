package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// shop is the service that uses the gate.
type shop struct {
	gate      *oidcgate.Gate
	providers []oidcgate.Provider
	customers customers
	managers  string        // the group that may enter the back office
	redis     *redis.Client // nil: sessions are in memory
}

func newShop(o options, shopURL string, upstream *upstream) (*shop, error) {
	s := &shop{
		providers: upstream.providers,
		customers: customers{all: map[identity]customer{}},
		managers:  cmp.Or(o.getenv("ADMIN_GROUP"), "managers"),
	}
	keys, err := oidcgate.ParseKeys(o.getenv("SESSION_KEYS"))
	if err != nil {
		return nil, fmt.Errorf("demo: SESSION_KEYS: %w", err)
	}
	config := oidcgate.Config{
		BaseURL: shopURL,
		Keys:    keys,
		// Cookies do not depend on the port, so another service on localhost could use the default
		// name.
		Site:         oidcgate.SiteOptions{CookieName: "teashop"},
		EnableValues: true, // for the basket
		DevPage:      true, // "What the gate knows"
		Tokens:       oidcgate.TokenOptions{ClaimsMaxAge: 15 * time.Minute},
		Page:         s.gatePage,
		OnLogin:      nameDevice,
		OnLink:       s.customers.link,
	}
	if err := s.openRedis(&config, o.getenv("REDIS_URL")); err != nil {
		return nil, err
	}
	s.gate, err = oidcgate.New(config, upstream.providers...)
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *shop) openRedis(config *oidcgate.Config, address string) error {
	if address == "" {
		return nil
	}
	opts, err := redis.ParseURL(address)
	if err != nil {
		return errors.New("demo: REDIS_URL: is not a Redis URL; write one such as redis://localhost:6379/0")
	}
	opts.ContextTimeoutEnabled = true // otherwise go-redis ignores the request's deadline
	s.redis = redis.NewClient(opts)
	config.Store = redisstore.New(s.redis)
	return nil
}

func (s *shop) close() {
	if s.redis != nil {
		_ = s.redis.Close() // the process ends in any case
	}
}

// handler wraps the router with the gate. The stylesheet needs no session, so it is outside the
// gate.
func (s *shop) handler() http.Handler {
	member := s.gate.Require()
	manager := s.gate.Require(oidcgate.Claim("groups", s.managers))

	pages := http.NewServeMux()
	pages.HandleFunc("GET /{$}", s.home)
	pages.Handle("GET /account", member(http.HandlerFunc(s.account)))
	pages.Handle("GET /office", manager(http.HandlerFunc(s.office)))
	pages.Handle("GET /basket", member(http.HandlerFunc(s.basket)))
	pages.Handle("POST /basket", member(http.HandlerFunc(s.addToBasket)))
	pages.Handle("POST /devices/end", member(http.HandlerFunc(s.endDevice)))
	pages.Handle("POST /devices/end-others", member(http.HandlerFunc(s.endOtherDevices)))
	pages.HandleFunc("/", s.notFound)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", serveStyle)
	mux.Handle("/", s.gate.Wrap(http.NewCrossOriginProtection().Handler(pages)))
	return mux
}

// tea is what the shop sells.
type tea struct {
	ID, Name, Origin, Note string
	Price                  cents
}

// cents is a price.
type cents int

func (c cents) String() string { return fmt.Sprintf("%d.%02d", c/100, c%100) }

var teas = []tea{
	{"sencha", "Morning Sencha", "Shizuoka", "Cut grass, sea air and a clear head.", 950},
	{"assam", "Second Flush Assam", "Dibrugarh", "Malt and dark honey; stands up to milk.", 820},
	{"lapsang", "Smoky Lapsang", "Wuyi", "A pine fire, three valleys away.", 1100},
	{"oolong", "High Mountain Oolong", "Alishan", "Orchid and warm butter, cup after cup.", 1480},
	{"darjeeling", "First Flush Darjeeling", "Kurseong", "Muscat grapes and early spring.", 1240},
	{"rooibos", "Evening Rooibos", "Cederberg", "Vanilla, red earth, no caffeine.", 690},
}

// shelf is a tea and its quantity in the visitor's basket.
type shelf struct {
	tea
	InBasket int
}

// Sum is the price of what is in the basket.
func (s shelf) Sum() cents { return s.Price * cents(s.InBasket) }

func (s *shop) home(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "home.html", view{Title: "Loose leaf, sent by sea", Page: "shop", Body: s.shelves(r.Context())})
}

func (s *shop) shelves(ctx context.Context) []shelf {
	shelves := make([]shelf, 0, len(teas))
	for _, t := range teas {
		shelves = append(shelves, shelf{t, s.inBasket(ctx, t)})
	}
	return shelves
}

// basket shows what the visitor would buy.
func (s *shop) basket(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Rows []shelf
		Sum  cents
	}
	for _, row := range s.shelves(r.Context()) {
		if row.InBasket > 0 {
			body.Rows = append(body.Rows, row)
			body.Sum += row.Sum()
		}
	}
	s.show(w, r, http.StatusOK, "basket.html", view{Title: "Your basket", Page: "basket", Body: body})
}

func (s *shop) inBasket(ctx context.Context, t tea) int {
	return s.gate.Values().GetInt(ctx, "basket."+t.ID)
}

func (s *shop) basketSize(ctx context.Context) int {
	n := 0
	for _, t := range teas {
		n += s.inBasket(ctx, t)
	}
	return n
}

func (s *shop) addToBasket(w http.ResponseWriter, r *http.Request) {
	for _, t := range teas {
		if t.ID == r.PostFormValue("tea") {
			s.gate.Values().Put(r.Context(), "basket."+t.ID, min(s.inBasket(r.Context(), t)+1, 99))
			http.Redirect(w, r, "/#"+t.ID, http.StatusSeeOther)
			return
		}
	}
	s.notFound(w, r)
}

// order is a row of the back office.
type order struct{ Number, Customer, Tea, State string }

var orders = []order{
	{"1047", "Ben Okafor", "Smoky Lapsang × 2", "packed"},
	{"1046", "Chiara Conti", "Evening Rooibos", "new"},
	{"1045", "Mette Holm", "Morning Sencha × 4", "new"},
	{"1044", "Ben Okafor", "High Mountain Oolong", "sent"},
	{"1043", "Iqbal Rahman", "Second Flush Assam × 3", "sent"},
}

// office is for managers only. The guard has already checked the user.
func (s *shop) office(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusOK, "office.html", view{Title: "Back office", Page: "office", Body: orders})
}

func (s *shop) notFound(w http.ResponseWriter, r *http.Request) {
	s.show(w, r, http.StatusNotFound, "message.html", view{Title: "Nothing here", Body: oidcgate.Page{
		Text:  "This shop has no such page.",
		Links: []oidcgate.Link{{URL: "/", Text: "To the shop"}},
	}})
}

// gatePage shows a page of the gate in the style of the shop.
func (s *shop) gatePage(w http.ResponseWriter, r *http.Request, p oidcgate.Page) bool {
	s.show(w, r, p.Status, "message.html", view{Title: p.Title, Body: p})
	return true
}
