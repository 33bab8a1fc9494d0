package main

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/internal/op"
	"github.com/oidcgate/oidcgate/presets"
)

// presetLines lists the presets as a person types them, each with what it asks for.
func presetLines() string {
	var b strings.Builder
	for _, p := range presets.List() {
		b.WriteString("\n    " + usageOf(&p))
	}
	return b.String()
}

// usageOf is how a preset is typed: "auth0 DOMAIN [ORGANIZATION]".
func usageOf(p *presets.Preset) string {
	words := []string{p.Name}
	for _, q := range p.Ask {
		word := strings.ReplaceAll(upper(q.Name), "_", "-")
		if q.Optional {
			word = "[" + word + "]"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// unknownPreset is the error for a word that is no preset. It names those that begin like it.
func unknownPreset(word string) error {
	var likely []string
	for _, p := range presets.List() {
		if n := min(2, len(word)); strings.EqualFold(word[:n], p.Name[:2]) {
			likely = append(likely, usageOf(&p))
		}
	}
	if len(likely) == 0 {
		return fmt.Errorf("%q is none of the list; write a name as it stands there, or an issuer such "+
			"as https://id.example", word)
	}
	return fmt.Errorf("%q is none of the list; is it one of these? %s", word,
		strings.Join(likely, "; "))
}

// upper writes a name as variables of the environment are written: hostedDomain as HOSTED_DOMAIN.
func upper(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && unicode.IsUpper(r) && !unicode.IsUpper(rune(name[i-1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToUpper(r))
	}
	return b.String()
}

// variable is the variable of the environment with an answer to a preset.
func variable(question string) string { return "OIDC_" + upper(question) }

// takePreset reads what stands after the name of a preset.
func (a *answers) takePreset(p *presets.Preset, words []string) error {
	a.Preset, a.Details = p, map[string]string{}
	example, missing := p.Name, false
	for i, q := range p.Ask {
		example += " " + q.Example
		if i < len(words) {
			a.Details[q.Name] = words[i]
		} else {
			missing = missing || !q.Optional
		}
	}
	if missing || len(words) > len(p.Ask) {
		return fmt.Errorf("write %s, such as: %s", usageOf(p), example)
	}
	a.Issuer = a.provider().Issuer
	return usableProvider(a.provider())
}

// provider is the one that the preset makes, without what is asked later.
func (a *answers) provider() oidcgate.Provider {
	if a.Preset == nil {
		return oidcgate.Provider{Issuer: a.Issuer}
	}
	return a.Preset.Provider(a.Details, "-", oidcgate.PublicClient())
}

// usableProvider checks the addresses of a provider.
func usableProvider(p oidcgate.Provider) error {
	if err := needsHTTPS(p.Issuer); err != nil {
		return err
	}
	cfg := op.Config{
		Issuer: p.Issuer, ClientID: "-", Auth: op.Auth{Method: op.AuthNone},
		Tenants: p.Verification.Tenants, Logout: op.LogoutStyle(p.Logout.Style),
		Endpoints: op.Endpoints{
			Discovery: p.Endpoints.Discovery, EndSession: p.Endpoints.EndSession,
		},
	}
	cfg.Complete()
	return firstFault(cfg.Faults())
}

// choosesMethod reports whether the method of authentication is asked for.
func (a *answers) choosesMethod() bool {
	return a.Preset == nil || strings.Contains(a.Preset.Call, "{auth}")
}

func (a *answers) usualMethod() string {
	if a.Preset == nil {
		return op.AuthBasic
	}
	return a.Preset.Method
}

// HasAppleKey reports whether the client signs its secret.
func (a *answers) HasAppleKey() bool {
	return a.Preset != nil && strings.Contains(a.Preset.Call, "{key}")
}

// NeedsRSA reports whether the client's key must be one for RS256.
func (a *answers) NeedsRSA() bool { return a.HasKey() && a.Preset != nil && !a.SetsKeys() }

// SetsKeys reports whether ClientKeys is to be set in what the preset makes.
func (a *answers) SetsKeys() bool {
	return a.HasKey() && a.Preset != nil && !strings.Contains(a.Preset.Call, "{keys}")
}

// Imports reports whether main.go needs a package.
func (a *answers) Imports(name string) bool {
	return a.Preset != nil && strings.Contains(a.Preset.Call, name+".")
}

var inBraces = regexp.MustCompile(`\{[a-z]\w*\}`)

// Call is the call of the preset in Go.
func (a *answers) Call() string {
	call := "presets." + inBraces.ReplaceAllStringFunc(a.Preset.Call, func(s string) string {
		switch name := strings.Trim(s, "{}"); name {
		case "clientID":
			return `os.Getenv("OIDC_CLIENT_ID")`
		case "auth":
			return a.Auth()
		case "keys":
			return "clientKeys"
		case "key":
			return "appleKey"
		default:
			return fmt.Sprintf("os.Getenv(%q)", variable(name))
		}
	})
	return strings.Replace(call, ", "+a.Auth(), ",\n"+a.Auth(), 1)
}

// setting is a line of .env.
type setting struct{ Name, Value string }

// Settings are the lines of .env that say which provider it is.
func (a *answers) Settings() (all []setting) {
	if a.Preset == nil {
		return []setting{{"OIDC_ISSUER", a.Issuer}}
	}
	for _, q := range a.Preset.Ask {
		all = append(all, setting{variable(q.Name), a.Details[q.Name]})
	}
	return all
}

// HasDiscovery reports whether the doctor can look at the provider: whether it has a discovery
// document at the issuer.
func (a *answers) HasDiscovery() bool {
	return a.HasIDTokens() && a.provider().Endpoints.Discovery == ""
}

// HasIDTokens reports whether the provider speaks OpenID Connect. Others have no logout that a
// preset uses.
func (a *answers) HasIDTokens() bool { return a.provider().Endpoints.Authorization == "" }

// HasLogout reports whether the provider has a logout that leads back.
func (a *answers) HasLogout() bool {
	return a.HasIDTokens() && a.provider().Logout.Style != oidcgate.LogoutOff
}
