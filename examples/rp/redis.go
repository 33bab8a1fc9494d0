package main

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// errRedisURL does not repeat the URL, which may hold a password.
var errRedisURL = errors.New("rp: REDIS_URL: is not a Redis URL; write redis://HOST:PORT/DB, " +
	"redis+sentinel://HOST:PORT,HOST:PORT/MASTER?db=DB or redis+cluster://HOST:PORT,HOST:PORT")

// newRedis makes a client of one Redis, of what Sentinels call the master, or of a Cluster. It waits for
// nothing: a Redis that is down is found again by itself.
func newRedis(address string) (redis.UniversalClient, error) {
	kind, rest, _ := strings.Cut(address, "://")
	switch kind {
	case "redis+sentinel":
		o, err := parseNodes(rest)
		if err != nil || o.MasterName == "" {
			return nil, errRedisURL
		}
		return redis.NewFailoverClient(o.Failover()), nil
	case "redis+cluster":
		o, err := parseNodes(rest)
		if err != nil || o.MasterName != "" || o.DB != 0 {
			return nil, errRedisURL
		}
		cluster := o.Cluster()
		// Else a command may first fetch the list of commands, in a time that is not the request's.
		cluster.DisableRoutingPolicies = true
		return redis.NewClusterClient(cluster), nil
	}
	o, err := redis.ParseURL(address)
	if err != nil {
		return nil, errRedisURL
	}
	// Without it go-redis waits for its own timeouts whatever the request's deadline is, and the store would
	// have to bound each call by a goroutine of its own.
	o.ContextTimeoutEnabled = true
	return redis.NewClient(o), nil
}

// parseNodes reads USER:PASSWORD@HOST:PORT,HOST:PORT/MASTER?db=DB. User and password are those of Redis, and
// not of its Sentinels.
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
	// Package url knows of no list of hosts, so it reads the rest round the place where they were.
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

// parseDB reads a query in which there may be nothing but db.
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
