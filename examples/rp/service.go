package main

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// service is the relying party: the gate and its pages.
type service struct {
	options *options
	gate    *oidcgate.Gate
	logger  *slog.Logger
	redis   redis.UniversalClient // nil: sessions are in memory

	accounts  accounts
	providers atomic.Pointer[[]oidcgate.Provider] // those of the gate

	streams    context.Context // ends when the service shuts down
	endStreams context.CancelFunc
}

// newService creates the service. Its error has all faults together: its own and those of
// oidcgate.New.
func newService(o *options, logger *slog.Logger, events io.Writer) (*service, error) {
	s := &service{options: o, logger: logger}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	config := o.config
	config.Logger = logger
	lines := json.NewEncoder(events)
	config.OnEvent = func(e oidcgate.Event) {
		_ = lines.Encode(eventLine{Event: e, Reason: e.Reason}) // standard output may be closed
	}
	config.OnLogout = func(l oidcgate.Logout) {
		logger.Info("a session has ended", "session_ref", l.SessionRef, "user", l.Subject, "reason", string(l.Reason))
	}
	config.OnLogin = s.onLogin
	if o.link {
		config.OnLink = s.onLink
	}
	providers, providersErr := o.providers()
	s.providers.Store(&providers)
	redisErr := s.openRedis(&config)
	trustErr := trust(&config, o.caFile)
	var newErr error
	s.gate, newErr = oidcgate.New(config, providers...)
	if err := errors.Join(redisErr, trustErr, providersErr, newErr); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *service) openRedis(config *oidcgate.Config) (err error) {
	if s.options.redisURL == "" {
		return nil
	}
	if s.redis, err = newRedis(s.options.redisURL); err != nil {
		return err
	}
	config.Store = redisstore.NewWith(s.redis, redisstore.Config{Timeout: s.options.redisTimeout, Logger: s.logger})
	return nil
}

func (s *service) close() {
	s.endStreams()
	if s.redis != nil {
		_ = s.redis.Close() // the process ends in any case
	}
}

// trust sets HTTPOptions.RootCAs to the certificate authorities of the system and those of file.
func trust(config *oidcgate.Config, file string) error {
	if file == "" {
		return nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("rp: CA_FILE: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("rp: CA_FILE: %s holds no certificate in PEM form", file)
	}
	config.HTTP.RootCAs = roots
	return nil
}

func (s *service) onLogin(ctx context.Context, login *oidcgate.Login) error {
	label(login)
	if s.options.link {
		s.accounts.open(login.Identity())
	}
	if s.options.groupsPrefix == "" {
		return nil
	}
	return keepGroups(login, s.options.groupsPrefix)
}

// keepGroups keeps only the groups that begin with prefix, so that the session of a user with
// thousands of groups stays small.
func keepGroups(login *oidcgate.Login, prefix string) error {
	kept := []string{}
	for _, group := range groupsOf(login.Identity()) {
		if strings.HasPrefix(group, prefix) {
			kept = append(kept, group)
		}
	}
	return login.Set("groups", kept)
}
