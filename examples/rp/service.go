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

	"github.com/redis/go-redis/v9"

	"github.com/oidcgate/oidcgate"
	"github.com/oidcgate/oidcgate/store/redisstore"
)

// service is the relying party: the gate and the pages behind it.
type service struct {
	options *options
	gate    *oidcgate.Gate
	logger  *slog.Logger
	redis   redis.UniversalClient // nil: sessions are in memory

	streams    context.Context // ends when the service does
	endStreams context.CancelFunc
}

// newService reports all that is wrong together: what it checks itself and what oidcgate.New does.
func newService(o *options, logger *slog.Logger, events io.Writer) (*service, error) {
	s := &service{options: o, logger: logger}
	s.streams, s.endStreams = context.WithCancel(context.Background())
	config := o.config
	config.Logger = logger
	lines := json.NewEncoder(events)
	config.OnEvent = func(e oidcgate.Event) {
		_ = lines.Encode(eventLine{Event: e, Reason: e.Reason}) // nobody may be reading
	}
	config.OnLogin = s.onLogin
	redisErr := s.openRedis(&config)
	trustErr := trust(&config, o.caFile)
	var newErr error
	s.gate, newErr = oidcgate.New(config, o.provider)
	if err := errors.Join(redisErr, trustErr, newErr); err != nil {
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
		_ = s.redis.Close() // the process ends
	}
}

// trust adds certificate authorities to those of the system.
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
	config.RootCAs = roots
	return nil
}

func (s *service) onLogin(ctx context.Context, login *oidcgate.Login) error {
	label(ctx, login)
	if s.options.groupsPrefix == "" {
		return nil
	}
	return keepGroups(login, s.options.groupsPrefix)
}

// keepGroups trims the claim groups to what this service knows, so that somebody in three thousand groups has
// a small session too.
func keepGroups(login *oidcgate.Login, prefix string) error {
	kept := []string{}
	for _, group := range groupsOf(login.Identity()) {
		if strings.HasPrefix(group, prefix) {
			kept = append(kept, group)
		}
	}
	return login.Set("groups", kept)
}
