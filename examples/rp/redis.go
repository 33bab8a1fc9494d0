package main

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// errRedisURL does not contain the URL, because the URL may contain a password.
var errRedisURL = errors.New("rp: REDIS_URL: is not a Redis URL; write redis://HOST:PORT/DB, " +
	"redis+sentinel://HOST:PORT,HOST:PORT/MASTER?db=DB or redis+cluster://HOST:PORT,HOST:PORT")

// newRedis returns a client for a single Redis, for the master that Sentinels name, or for a
// Cluster. It does not connect; the client connects when it is used, and again after an outage.
func newRedis(address string) (redis.UniversalClient, error) {
	kind, rest, _ := strings.Cut(address, "://")
	switch kind {
	case "redis+sentinel":
		o, err := parseNodes(rest)
		if err != nil || o.MasterName == "" {
			return nil, errRedisURL
		}
		failover := o.Failover()
		// Otherwise a Sentinel that falls silent is asked until it is back, and no other.
		failover.ReadTimeout = time.Second
		return redis.NewFailoverClient(failover), nil
	case "redis+cluster":
		o, err := parseNodes(rest)
		if err != nil || o.MasterName != "" || o.DB != 0 {
			return nil, errRedisURL
		}
		cluster := o.Cluster()
		// Otherwise a command may first fetch the server's list of commands, with a timeout other
		// than the request's.
		cluster.DisableRoutingPolicies = true
		return redis.NewClusterClient(cluster), nil
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, errRedisURL
	}
	// Without it go-redis ignores the request's deadline, and the store needs a goroutine for each
	// call.
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o), nil
}

// parseNodes parses USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER?db=DB. User and password are for
// Redis, not for its Sentinels.
func parseNodes(s string) (*redis.UniversalOptions, error) {
	end := len(s)
	if i := strings.IndexAny(s, "/?"); i >= 0 {
		end = i
	}
	hosts := strings.LastIndex(s[:end], "@") + 1
	o := &redis.UniversalOptions{Addrs: strings.Split(s[hosts:end], ","), ContextTimeoutEnabled: true}
	for _, addr := range o.Addrs {
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			return nil, errRedisURL
		}
	}
	// Package url cannot parse a list of hosts, so "nodes" takes its place here.
	u, err := url.Parse("redis://" + s[:hosts] + "nodes" + s[end:])
	if err != nil {
		return nil, errRedisURL
	}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	o.MasterName = strings.TrimPrefix(u.Path, "/")
	o.DB, err = parseDB(u.RawQuery)
	return o, err
}

// parseDB parses a query that may contain only db.
func parseDB(query string) (int, error) {
	if query == "" {
		return 0, nil
	}
	db, found := strings.CutPrefix(query, "db=")
	n, err := strconv.Atoi(db)
	if !found || err != nil || n < 0 {
		return 0, errRedisURL
	}
	return n, nil
}
