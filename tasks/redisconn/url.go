package redisconn

import (
	"errors"
	"fmt"
	"iter"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// ErrURL is wrapped by every error about the Redis URL itself, or about a certificate
// file that it names: the configuration is wrong, not Redis.
var ErrURL = errors.New("the Redis URL is wrong")

type scheme string

const (
	schemeRedis    scheme = "redis"
	schemeTLS      scheme = "rediss"
	schemeUnix     scheme = "unix"
	schemeSentinel scheme = "redis-sentinel"
	schemeCluster  scheme = "redis-cluster"
	schemeEmbedded scheme = "embedded"
)

// target is a parsed URL. The zero value of a field means that the URL does not set it.
type target struct {
	scheme                     scheme
	addrs                      []string // host:port each
	user, pass                 string
	db                         int
	master                     string // of Sentinel
	sentinelUser, sentinelPass string
	path                       string // the socket, or the folder of the embedded server
	tls                        bool
	ca, cert, key, serverName  string
}

// Validate returns an error if Open would refuse the URL, without connecting to Redis
// or opening a file. Its errors wrap [ErrURL] and never contain the URL's secrets.
func Validate(rawURL string) error {
	_, err := parseURL(rawURL)
	return err
}

// Credentials returns where a URL has secrets: whether it has a password, and the files
// of private keys that it names. For a URL that cannot be parsed it returns nothing.
func Credentials(rawURL string) (password bool, keyFiles []string) {
	t, err := parseURL(rawURL)
	if err != nil {
		return false, nil
	}
	if t.key != "" {
		keyFiles = []string{t.key}
	}
	return t.pass != "" || t.sentinelPass != "", keyFiles
}

// Passwords yields the user names and the passwords in a URL, both as written in the
// URL and as sent to Redis. For a URL that cannot be parsed it yields the parts that
// look like a password.
func Passwords(rawURL string) iter.Seq2[string, string] {
	return func(yield func(user, password string) bool) {
		_, rest, _ := strings.Cut(rawURL, "://")
		if at := strings.LastIndexByte(rest, '@'); at >= 0 {
			if user, password, ok := strings.Cut(rest[:at], ":"); ok && !yield(user, password) {
				return
			}
		}
		t, err := parseURL(rawURL)
		if err != nil {
			return
		}
		if t.pass != "" && !yield(t.user, t.pass) {
			return
		}
		if t.sentinelPass != "" {
			yield(t.sentinelUser, t.sentinelPass)
		}
	}
}

const forms = "redis://host:port/db, rediss://…, unix:///path?db=0, redis-sentinel://h1:p,h2:p/MASTER, redis-cluster://h1:p,h2:p, embedded: or embedded:///DIR"

// urlError makes an error of this file. Its arguments must be literals and callq's own
// words: a password with an unescaped ?, # or / can appear in any part of a URL, so no
// part of a URL is ever quoted.
func urlError(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrURL, fmt.Sprintf(format, args...))
}

func parseURL(raw string) (target, error) {
	if strings.ContainsFunc(raw, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return target{}, urlError("it has a control character or a line end")
	}
	if raw == "embedded:" {
		return target{scheme: schemeEmbedded}, nil
	}
	name, rest, found := strings.Cut(raw, "://")
	if !found {
		return target{}, urlError("it has no known scheme; write one of %s", forms)
	}
	t := target{scheme: scheme(name)}
	switch t.scheme {
	case schemeEmbedded:
		err := t.parseEmbedded(rest)
		return t, err
	case schemeRedis, schemeTLS, schemeUnix, schemeSentinel, schemeCluster:
	default:
		return target{}, urlError("it has an unknown scheme; write one of %s", forms)
	}
	if strings.Contains(rest, "#") {
		return target{}, urlError("it has a # in it; %s", redisinfo.EncodeHint)
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if strings.Contains(query, "@") || t.scheme != schemeUnix && strings.Contains(path, "@") {
		return target{}, urlError("it has an @ in a wrong place; %s", redisinfo.EncodeHint)
	}
	for _, step := range []func() error{
		func() error { return t.parseAuthority(authority) },
		func() error { return t.parsePath(path) },
		func() error { return t.parseQuery(query) },
	} {
		if err := step(); err != nil {
			return target{}, err
		}
	}
	return t, nil
}

func (t *target) parseEmbedded(rest string) error {
	dir, err := url.PathUnescape(rest)
	switch {
	case err != nil:
		return urlError("a %% in the folder must be followed by two hex digits; write %% itself as %%25")
	case strings.ContainsRune(dir, 0):
		return urlError("the folder has a NUL byte in it")
	case !filepath.IsAbs(dir):
		return urlError("the folder of embedded:///DIR must be an absolute path, with three slashes in all; plain embedded: chooses one")
	case strings.ContainsAny(rest, "?#"):
		return urlError("embedded: has no options; in a folder write ? as %%3F and # as %%23")
	}
	t.path = filepath.Clean(dir)
	return nil
}

func (t *target) parseAuthority(authority string) error {
	hosts := authority
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		hosts = authority[i+1:]
		user, pass, hasPass := strings.Cut(authority[:i], ":")
		var err1, err2 error
		t.user, err1 = url.PathUnescape(user)
		t.pass, err2 = url.PathUnescape(pass)
		if err1 != nil || err2 != nil {
			return urlError("a %% in the user name or password must be followed by two hex digits; %s", redisinfo.EncodeHint)
		}
		if !hasPass || t.pass == "" {
			return urlError("it has a user name without a password; write user:password@ or, for a password alone, :password@")
		}
	}
	if t.scheme == schemeUnix {
		if hosts != "" {
			return urlError("unix: needs an absolute path, with three slashes in all: unix:///path/to/socket")
		}
		return nil
	}
	port := "6379"
	if t.scheme == schemeSentinel {
		port = "26379"
	}
	single := t.scheme == schemeRedis || t.scheme == schemeTLS
	if hosts == "" && single {
		hosts = "localhost"
	}
	for i, h := range strings.Split(hosts, ",") {
		addr, err := hostPort(h, port)
		if err != nil {
			return urlError("host %d: %s", i+1, err)
		}
		t.addrs = append(t.addrs, addr)
	}
	if single && len(t.addrs) > 1 {
		return urlError("%s:// takes one host; for several use redis-sentinel:// or redis-cluster://", t.scheme)
	}
	return nil
}

var hostPattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9.])?$`)

func hostPort(s, defaultPort string) (string, error) {
	host, port := s, defaultPort
	if strings.HasPrefix(s, "[") {
		end := strings.IndexByte(s, ']')
		if end < 0 {
			return "", errors.New("an IPv6 address must be closed with ]")
		}
		host = s[1:end]
		if net.ParseIP(host) == nil || !strings.Contains(host, ":") {
			return "", errors.New("the text between [ and ] is not an IPv6 address")
		}
		if tail := s[end+1:]; tail != "" {
			if !strings.HasPrefix(tail, ":") {
				return "", errors.New("after an IPv6 address only :port may follow")
			}
			port = tail[1:]
		}
	} else {
		if h, p, ok := strings.Cut(s, ":"); ok {
			host, port = h, p
		}
		if !hostPattern.MatchString(host) {
			return "", errors.New("the name is empty or has a character that is not allowed in a host name; " + redisinfo.EncodeHint)
		}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return "", errors.New("the port is not a number from 1 to 65535; " + redisinfo.EncodeHint)
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), nil
}

// masterPattern is the set of characters that sentinel.conf allows in a master's name:
// A-z 0-9 and ".-_".
var masterPattern = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

func (t *target) parsePath(path string) error {
	switch t.scheme {
	case schemeUnix:
		p, err := url.PathUnescape(path)
		if err != nil || strings.ContainsRune(p, 0) {
			return urlError("a %% in the path of the socket must be followed by two hex digits; write %% itself as %%25")
		}
		if p == "" || p == "/" {
			return urlError("unix: needs the path of a socket: unix:///path/to/socket")
		}
		t.path = p
	case schemeSentinel:
		t.master = strings.TrimPrefix(path, "/")
		if !masterPattern.MatchString(t.master) {
			return urlError("redis-sentinel:// needs the master's name after the hosts (letters, digits, . - _): redis-sentinel://h1:p,h2:p/MASTER")
		}
	case schemeCluster:
		if path != "" && path != "/" && path != "/0" {
			return urlError("a Cluster has database 0 only; leave the path out")
		}
	default:
		if p := strings.Trim(path, "/"); p != "" {
			return t.setDB(p, "the path")
		}
	}
	return nil
}

func (t *target) setDB(s, where string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil {
		return urlError("%s must be the number of a database, 0 or more; %s", where, redisinfo.EncodeHint)
	}
	t.db = int(n)
	return nil
}

func (t *target) parseQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return urlError("its options, after the ?, cannot be read; %s", redisinfo.EncodeHint)
	}
	for name, vs := range values {
		if !slices.Contains(t.params(), name) {
			known := strings.Join(t.params(), ", ")
			if known == "" {
				known = "none"
			}
			return urlError("an option after the ? is unknown; %s:// has %s", t.scheme, known)
		}
		if len(vs) > 1 || vs[0] == "" {
			return urlError("option %s needs one value", name)
		}
	}
	t.tls = t.scheme == schemeTLS
	if v := values.Get("tls"); v != "" {
		if t.tls, err = strconv.ParseBool(v); err != nil {
			return urlError("option tls must be true or false")
		}
	}
	if v := values.Get("db"); v != "" {
		if err := t.setDB(v, "option db"); err != nil {
			return err
		}
	}
	t.sentinelUser, t.sentinelPass = values.Get("sentinel_username"), values.Get("sentinel_password")
	t.ca, t.cert, t.key = values.Get("ca"), values.Get("cert"), values.Get("key")
	t.serverName = values.Get("server_name")
	switch {
	case !t.tls && (t.ca != "" || t.cert != "" || t.key != "" || t.serverName != ""):
		return urlError("options ca, cert, key and server_name need tls=true")
	case (t.cert == "") != (t.key == ""):
		return urlError("options cert and key go together")
	case t.sentinelUser != "" && t.sentinelPass == "":
		return urlError("option sentinel_username needs sentinel_password")
	}
	return nil
}

// params lists the query options of the scheme.
func (t *target) params() []string {
	tls := []string{"ca", "cert", "key", "server_name"}
	switch t.scheme {
	case schemeTLS:
		return tls
	case schemeUnix:
		return []string{"db"}
	case schemeSentinel:
		return append([]string{"db", "sentinel_username", "sentinel_password", "tls"}, tls...)
	case schemeCluster:
		return append([]string{"tls"}, tls...)
	}
	return nil
}

// describe returns the URL without user, password and options, suitable for logs.
func (t *target) describe() string {
	hosts := strings.Join(t.addrs, ",")
	switch t.scheme {
	case schemeUnix:
		return fmt.Sprintf("unix://%s?db=%d", (&url.URL{Path: t.path}).EscapedPath(), t.db)
	case schemeSentinel:
		return fmt.Sprintf("redis-sentinel://%s/%s?db=%d", hosts, t.master, t.db)
	case schemeCluster:
		return "redis-cluster://" + hosts
	case schemeEmbedded:
		if t.path == "" {
			return "embedded:"
		}
		return "embedded://" + (&url.URL{Path: t.path}).EscapedPath()
	}
	return fmt.Sprintf("%s://%s/%d", t.scheme, hosts, t.db)
}
