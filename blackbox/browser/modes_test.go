package browser_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/oidcgatetest"
	"github.com/oidcgate/oidcgate/store"
)

// Responses that the provider's page posts, or that stand in the fragment. Browsers send no Lax
// cookie with the first, and no server sees the second.
func TestResponseModesInChromium(t *testing.T) {
	sites := startSites(t)
	chromium := startChromium(t, sites.flags()...)
	for _, mode := range []struct{ responseType, responseMode string }{
		{"code", "form_post"}, {"code", "fragment"}, {"code id_token", "form_post.jwt"}, {"id_token", "fragment.jwt"},
	} {
		answering := func(p *oidcgate.Provider) {
			p.Request.ResponseType, p.Request.ResponseMode = mode.responseType, mode.responseMode
		}
		for _, story := range modeStories {
			t.Run(mode.responseType+" by "+mode.responseMode+": "+story.name, func(t *testing.T) {
				s := &modeScene{codes: 1}
				s.scene = &scene{T: t, chromium: chromium, sites: sites, op: openShop(t, sites, new(store.Memory), answering)}
				if mode.responseType == "id_token" {
					s.codes = 0
				}
				s.fragment = strings.HasPrefix(mode.responseMode, "fragment")
				story.tell(s)
			})
		}
	}
}

type modeScene struct {
	*scene
	codes    int  // that a login redeems
	fragment bool // the response is in the fragment
}

var modeStories = []struct {
	name string
	tell func(*modeScene)
}{
	{"C043 C044 a login ends at its page, with Lax cookies, and nothing of the response stays in an address", arriveStory},
	{"C022 two tabs", modeTabsStory},
	{"C045 the back button and a reload redeem nothing again", modeBackStory},
	{"C046 a visitor who is signed in already becomes the other user", modeSignedInStory},
	{"C040 without JavaScript", noScriptStory},
}

// logIn chooses a user at the provider and waits for a page of the shop.
func (s *modeScene) logIn(v *tab, user, page string) {
	s.Helper()
	v.click("#" + user)
	v.waitAt(shopURL + page)
}

// waitAt waits until the tab shows that address, however many pages are on the way. Between two
// pages the tab answers no question.
func (v *tab) waitAt(want string) {
	v.Helper()
	for end := time.Now().Add(patience / 2); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		at, err := chromedp.Run(v.ctx, chromedp.Evaluate[string](`document.readyState + " " + location.href`))
		if err == nil && at == "complete "+want {
			return
		}
	}
	v.Fatalf("address: got %s, want %s; visited:\n%s", v.address(), want, strings.Join(v.documents(), "\n"))
}

func arriveStory(s *modeScene) {
	v := s.visitor()
	v.open(shopURL + "/account?order=7")
	s.logIn(v, "alice", "/account?order=7")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, s.codes)
	for _, address := range append(v.history(), v.documents()...) {
		for _, word := range []string{"code=", "id_token=", "response="} {
			if strings.HasPrefix(address, shopURL) && strings.Contains(address, word) {
				s.Errorf("%s stands in %s", word, address)
			}
		}
	}
	wantProtected(s.T, v.onlyCookie("after the login"))
	v.reload()
	v.wantText("#who", "Alice Example")
}

func modeTabsStory(s *modeScene) {
	first := s.visitor()
	second := first.anotherTab()
	first.open(shopURL + "/account")
	second.open(shopURL + "/orders")
	s.logIn(second, "alice", "/orders")
	s.logIn(first, "alice", "/account")
	for _, v := range []*tab{first, second} {
		v.reload()
		v.wantText("#who", "Alice Example")
	}
	second.wantNoProblems()
}

func modeBackStory(s *modeScene) {
	v := s.visitor()
	v.open(shopURL + "/account")
	s.logIn(v, "alice", "/account")
	if callback := func(a string) bool { return strings.HasPrefix(a, shopURL+"/auth/callback") }; slices.ContainsFunc(v.history(), callback) {
		s.Errorf("the back button leads to the callback: %q", v.history())
	}
	v.back()
	v.wantText("h1", "Who are you?")
	s.logIn(v, "alice", "/") // for the login that has already finished
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, s.codes)
}

func modeSignedInStory(s *modeScene) {
	v := s.visitor()
	v.open(shopURL + "/account")
	s.logIn(v, "alice", "/account")
	before := v.onlyCookie("after the first login").Value
	v.open(shopURL + "/auth/login?return_to=/orders")
	s.logIn(v, "bob", "/orders")
	v.wantText("#who", "Bob Example")
	if v.onlyCookie("after the second login").Value == before {
		s.Error("the session's id stayed")
	}
}

func noScriptStory(s *modeScene) {
	v := s.visitor()
	v.open(shopURL + "/account")
	off := emulation.SetScriptExecutionDisabledParams{Value: true}
	if _, err := chromedp.Call(v.ctx, emulation.SetScriptExecutionDisabled, off); err != nil {
		s.Fatal(err)
	}
	v.click("#alice")
	if s.fragment {
		v.wantText("h1", "One moment")
		if text := v.text("main"); !strings.Contains(text, "without JavaScript") {
			s.Errorf("the page says %q", text)
		}
		return
	}
	v.click("button") // the provider's own page
	v.wantText("h1", "One moment")
	v.click("button")
	v.wantAt(shopURL + "/account")
	v.wantText("#who", "Alice Example")
	s.wantCalls(oidcgatetest.Token, s.codes)
}
