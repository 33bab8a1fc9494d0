package page

import (
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/text/language"

	"github.com/oidcgate/oidcgate/internal/check"
)

// Message is the first part of the keys of what a page says: ".title" and ".text" follow.
type Message string

// The messages.
const (
	Choose        Message = "choose"
	ChooseEmail   Message = "choose_email"
	ChooseUnknown Message = "choose_unknown" // nobody knows the domain of the address

	AskLogout        Message = "logout"
	SignedOut        Message = "signed_out"
	LogoutFailed     Message = "logout_failed"
	LogoutUnfinished Message = "logout_unfinished"
	LogoutElsewhere  Message = "logout_elsewhere"
	LogoutUnread     Message = "logout_unread"

	LoginRequired Message = "login_required"
	StepUp        Message = "step_up" // has no title: a code takes its place
	NotSent       Message = "not_sent"
	NotSentStepUp Message = "not_sent_step_up"
	NoAccess      Message = "no_access"
	Unavailable   Message = "unavailable"

	LoginElsewhere   Message = "login_elsewhere"
	LoginUnknown     Message = "login_unknown" // another site wants a provider that is not there
	LoginFrame       Message = "login_frame"
	RequestElsewhere Message = "request_elsewhere"
	RequestUnclear   Message = "request_unclear" // the client does not say from where it comes
	WrongMethod      Message = "method"
	NotSetUp         Message = "set_up"

	relayMessage       Message = "relay"
	relayScriptMessage Message = "relay_script"

	Failed            Message = "failed"
	FailedStay        Message = "failed_stay" // the visitor is signed in, and stays so
	failedReplayed    Message = "failed_replayed"
	notLinked         Message = "failed_link"
	notLinkedNow      Message = "failed_link_now"     // a new try may help
	NotLinkedSession  Message = "failed_link_session" // another session began it
	failedExpired     Message = "failed_expired"
	FailedUnknown     Message = "failed_unknown"
	failedKey         Message = "failed_key"
	failedNoCookie    Message = "failed_no_cookie"
	failedSessionKey  Message = "failed_session_key"
	failedSessionLost Message = "failed_session_lost"
	failedAuthTime    Message = "failed_auth_time"
	failedACR         Message = "failed_acr"
	FailedCancelled   Message = "failed_cancelled"
	failedAccount     Message = "failed_account"
	failedLoggedOut   Message = "failed_logged_out"
	failedStore       Message = "failed_store"
	failedDown        Message = "failed_down"
	failedAnswer      Message = "failed_answer"
	FailedSite        Message = "failed_site"
)

// Label is the key of a text that stands on a link, on a button or beside a field.
type Label string

// The labels.
const (
	LogIn          Label = "log_in"
	LogInAgain     Label = "log_in_again"
	AnotherAccount Label = "another_account"
	LogOut         Label = "log_out"
	TryAgain       Label = "try_again"
	Stay           Label = "stay"
	Continue       Label = "continue"
	Back           Label = "back"
	GoToSite       Label = "go_to_site"
	UsedLast       Label = "used_last"
	Email          Label = "email"

	referenceLabel Label = "reference"
)

//go:embed words/*.json
var wordFiles embed.FS

// builtIn are the languages that this package has. The first is for visitors who want none of them,
// and for texts that a language of the application lacks.
var builtIn = []string{"en", "de", "fr"}

// words are the texts of the pages in all languages.
type words struct {
	matcher language.Matcher
	all     []texts // in the order in which the matcher counts
}

// texts are those of one language, each by its key.
type texts struct {
	language string // a tag (BCP 47)
	byKey    map[string]string
}

func (t texts) title(m Message) string { return t.byKey[string(m)+".title"] }
func (t texts) text(m Message) string  { return t.byKey[string(m)+".text"] }
func (t texts) label(l Label) string   { return t.byKey[string(l)] }

func (t texts) reference(reference string) string {
	return strings.ReplaceAll(t.label(referenceLabel), "{reference}", reference)
}

// maxAccept is how many bytes of Accept-Language are read. Those of browsers have less than 200.
const maxAccept = 1024

// in returns the texts for a request, and whether they were chosen by its Accept-Language.
// wanted is the language that the application wants, and may be empty or one that is not there.
func (w words) in(r *http.Request, wanted string) (t texts, byHeader bool) {
	if tag, err := language.Parse(wanted); wanted != "" && err == nil {
		if _, i, confidence := w.matcher.Match(tag); confidence != language.No {
			return w.all[i], false
		}
	}
	// A header that cannot be read counts as none (RFC 9110, section 12.5.4). So does a long one: of
	// a megabyte, reading takes a third of a second.
	header := strings.Join(r.Header["Accept-Language"], ",")
	if len(header) > maxAccept {
		header = ""
	}
	tags, _, _ := language.ParseAcceptLanguage(header)
	_, i, _ := w.matcher.Match(tags...)
	return w.all[i], true
}

// compileWords returns the built-in texts with those of the application in their place. It also
// returns which texts the languages of the application lack.
func compileWords(f *check.List, own map[string]map[string]string) (w words, lacks []string) {
	given := make(map[language.Tag]map[string]string)
	var tags []language.Tag
	for _, name := range builtIn {
		tag := language.MustParse(name)
		given[tag], tags = readWords(name), append(tags, tag)
	}
	all := maps.Clone(given[language.English]) // what there is: any other key is a mistake
	for _, name := range slices.Sorted(maps.Keys(own)) {
		tag, err := language.Parse(name)
		if err != nil || tag == language.Und {
			f.Add("Words", "%.80q is no language; write a tag such as \"pt-BR\" (BCP 47)", name)
			continue
		}
		if given[tag] == nil {
			given[tag], tags = make(map[string]string), append(tags, tag)
		}
		checkTexts(f, name, own[name], all)
		maps.Copy(given[tag], own[name])
	}
	for _, tag := range tags {
		t, absent := complete(tag, given)
		w.all = append(w.all, t)
		if len(absent) > 0 {
			lacks = append(lacks, tag.String()+": "+strings.Join(absent, ", "))
		}
	}
	w.matcher = language.NewMatcher(tags)
	return w, lacks
}

// complete returns the texts of a language. What it lacks is that of its parent (de-CH has that of
// de), or English. absent are the keys for which there is no parent.
func complete(
	tag language.Tag, given map[language.Tag]map[string]string,
) (t texts, absent []string) {
	t = texts{tag.String(), make(map[string]string)}
	for at := tag; at != language.Und; at = at.Parent() {
		for key, text := range given[at] {
			if _, nearer := t.byKey[key]; !nearer && isProviderKey(key) {
				t.byKey[key] = text
			}
		}
	}
	for key, text := range given[language.English] {
		if isProviderKey(key) { // without one there is the provider's Label
			continue
		}
		found := false
		for at := tag; at != language.Und && !found; at = at.Parent() {
			var own string
			if own, found = given[at][key]; found {
				text = own
			}
		}
		if !found {
			absent = append(absent, key)
		}
		t.byKey[key] = text
	}
	slices.Sort(absent)
	return t, absent
}

// readWords reads the texts of a built-in language.
func readWords(name string) map[string]string {
	text, err := wordFiles.ReadFile("words/" + name + ".json")
	read := make(map[string]string)
	if err == nil {
		err = json.Unmarshal(text, &read)
	}
	if err != nil {
		panic(fmt.Sprintf("oidcgate: the built-in texts in %s: %v", name, err)) // tests read them all
	}
	return read
}

// ProviderLabel is the label of the provider that has the name.
func ProviderLabel(name string) Label { return Label(providerKey + name) }

// providerKey begins the keys of labels that only the application can know.
const providerKey = "provider."

func isProviderKey(key string) bool { return strings.HasPrefix(key, providerKey) }

var placeholder = regexp.MustCompile(`\{[a-z_]+\}`)

// checkTexts checks what the application gives in one language. all are the texts that there are.
func checkTexts(f *check.List, name string, own, all map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(own)) {
		text := own[key]
		original, known := all[key]
		switch {
		case !known && !isProviderKey(key):
			f.Add("Words", "%s: no page has the text %.80q; docs/words.md lists the keys of all texts",
				name, key)
		case strings.TrimSpace(text) == "":
			f.Add("Words", "%s: %s is empty; leave it out for the built-in text", name, key)
		case !slices.Equal(placeholders(text), placeholders(original)):
			f.Add("Words", "%s: %s must have the placeholders %q, as in %q",
				name, key, placeholders(original), original)
		}
	}
}

// placeholders returns the placeholders of a text, sorted.
func placeholders(text string) []string {
	return slices.Sorted(slices.Values(placeholder.FindAllString(text, -1)))
}
