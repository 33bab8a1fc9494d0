package main

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/presets"
)

// providers returns the provider of the options, if there is one, and those of PROVIDERS. The error
// names everything that is wrong in their files.
func (o *options) providers() ([]oidcgate.Provider, error) {
	if o.providersDir == "" {
		return []oidcgate.Provider{o.provider}, nil
	}
	var all []oidcgate.Provider
	if o.provider.Issuer != "" {
		all = append(all, o.provider)
	}
	files, err := filepath.Glob(filepath.Join(o.providersDir, "*.env"))
	if err != nil {
		return nil, fmt.Errorf("rp: PROVIDERS: %w", err)
	}
	var faults []error
	for _, file := range files { // sorted by name
		p, err := readProvider(file)
		if err != nil {
			faults = append(faults, fmt.Errorf("rp: PROVIDERS: %s: %w", file, err))
		}
		all = append(all, p)
	}
	return all, errors.Join(faults...)
}

// readProvider reads the OIDC_* options of one provider. Without OIDC_NAME the provider has the name
// of the file.
func readProvider(file string) (oidcgate.Provider, error) {
	o := &options{clientAuth: "basic"}
	o.provider.Name = strings.TrimSuffix(filepath.Base(file), ".env")
	values, err := readValues(file)
	if err != nil {
		return o.provider, err
	}
	var faults []error
	for _, opt := range o.all() {
		value := values[opt.env]
		delete(values, opt.env)
		switch {
		case value == "":
		case !strings.HasPrefix(opt.env, "OIDC_"):
			faults = append(faults, fmt.Errorf("%s is not an option of a provider", opt.env))
		default:
			if err := opt.set(value); err != nil {
				faults = append(faults, fmt.Errorf("%s: %w", opt.env, err))
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		faults = append(faults, fmt.Errorf("%q is not an option; -help lists them", name))
	}
	faults = append(faults, o.bind())
	o.provider.Auth, err = o.auth()
	return o.provider, errors.Join(append(faults, err)...)
}

// readValues reads lines of the form NAME=value. Lines that are empty or begin with # are left out.
func readValues(file string) (map[string]string, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found {
			return nil, fmt.Errorf("the line of %q has no \"=\"", name)
		}
		values[name] = value
	}
	return values, nil
}

// setProviders reads PROVIDERS again, so that providers are added and taken away while the service
// runs. Only requests from this machine are accepted, as for endUser. Each replica must be told.
func (s *service) setProviders(w http.ResponseWriter, r *http.Request) {
	if !fromThisMachine(r) {
		s.writeError(w, http.StatusForbidden, "only for requests from the machine this runs on")
		return
	}
	providers, err := s.options.providers()
	if err == nil {
		err = s.gate.SetProviders(providers...)
	}
	if err != nil {
		s.writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	s.providers.Store(&providers)
	s.writeJSON(w, http.StatusOK, map[string][]string{"providers": s.providerNames()})
}

func (s *service) providerNames() []string {
	var names []string
	for _, p := range *s.providers.Load() {
		names = append(names, p.Name)
	}
	return names
}

// presetsByName returns the presets that need nothing but an issuer, or not even that.
func presetsByName() map[string]oidcgate.Provider {
	var none oidcgate.ClientAuth
	return map[string]oidcgate.Provider{
		"cas": presets.ApereoCAS("", "", none), "fewlines": presets.FewlinesConnect("", "", none),
		"gitlab": presets.GitLab("", "", none), "okta": presets.Okta("", "", none),
		"salesforce": presets.Salesforce("", "", none), "unidy": presets.Unidy("", "", none),
		"zitadel": presets.Zitadel("", "", none),
		"discord": presets.Discord("", none), "github": presets.GitHub("", none),
		"linkedin": presets.LinkedIn("", none), "slack": presets.Slack("", none),
		"unikname": presets.UniknameConnect("", none), "unikname-endpoints": presets.UniknameConnectEndpoints("", none),
	}
}

func presetNames() string { return strings.Join(slices.Sorted(maps.Keys(presetsByName())), ", ") }

// preset starts from the settings of a known provider. It keeps the name.
func preset(p *oidcgate.Provider) func(string) error {
	return func(value string) error {
		name := p.Name
		err := choice(p, presetsByName())(value)
		p.Name = name
		return err
	}
}
