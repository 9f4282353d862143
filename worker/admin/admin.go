package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// readyTimeout is how long Redis may take to answer a readiness check.
const readyTimeout = 2 * time.Second

// Config configures the handler. Redis, Ledger, Circuits and Client are
// required, and Tokens unless Loopback is set.
type Config struct {
	// Redis is the queue's: a *redis.Client or *redis.ClusterClient. It is not
	// closed.
	Redis    redis.UniversalClient
	Ledger   *ledger.Ledger
	Circuits *circuit.Store
	// Client cancels and redrives calls.
	Client *tasks.Client
	// Upstreams are the names whose circuits are shown.
	Upstreams []string
	// Concurrency is how many calls of each configured upstream may be in progress.
	Concurrency map[string]int
	// MaxMemory is how many bytes the results in Redis may take; 0: the page does not show
	// whether they do.
	MaxMemory int64
	// Loopback reports that only this machine can reach the address.
	Loopback bool
	// Tokens are the tokens that give access. If there are any, they are required on a
	// loopback address too.
	Tokens []Token
	// Logger receives errors. Defaults to none.
	Logger *slog.Logger
}

// Token is a credential.
type Token struct {
	// Name names the token's owner, for logs.
	Name string
	// Read returns the token's current value; it is called for every request. A token
	// whose Read returns an error or an empty value gives no access.
	Read func() (string, error)
}

// handler is the admin server's handler.
type handler struct {
	cfg       Config
	log       *slog.Logger
	public    http.Handler // routes that need no token
	protected http.Handler
}

// New returns the handler. It returns an error if other machines can reach the address
// and there is no token.
func New(cfg Config) (http.Handler, error) {
	switch {
	case cfg.Redis == nil || cfg.Ledger == nil || cfg.Circuits == nil || cfg.Client == nil:
		return nil, errors.New("admin.Config: Redis, Ledger, Circuits and Client are required")
	case !cfg.Loopback && len(cfg.Tokens) == 0:
		return nil, errors.New("admin.Config: an address that other machines can reach needs Tokens")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{cfg: cfg, log: cfg.Logger}
	health := http.NewServeMux()
	health.HandleFunc("GET /healthz", h.health)
	health.HandleFunc("GET /readyz", h.ready)
	h.public = health
	rest := http.NewServeMux()
	rest.HandleFunc("GET /{$}", h.page)
	rest.Handle("/asynqmon/", h.monitor())
	h.protected = http.NewCrossOriginProtection().Handler(rest)
	return h, nil
}

// ServeHTTP checks the access and serves the request.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("X-Frame-Options", "DENY")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-store")
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	switch {
	case r.URL.Path == "/healthz" || r.URL.Path == "/readyz":
		h.public.ServeHTTP(w, r)
	case h.cfg.Loopback && !localHost(r.Host):
		// A page of another site can make its own name resolve to 127.0.0.1 (DNS
		// rebinding); the browser then sends that name as the host.
		http.Error(w, "only this machine may use this address: call it 127.0.0.1 or localhost", http.StatusForbidden)
	case len(h.cfg.Tokens) > 0 && !h.allowed(r):
		header.Set("WWW-Authenticate", `Bearer realm="callq"`)
		http.Error(w, "this page needs a bearer token: Authorization: Bearer …", http.StatusUnauthorized)
	default:
		h.protected.ServeHTTP(w, r)
	}
}

// localHost reports whether a Host header names this machine.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

// allowed reports whether the request has one of the configured tokens. The time that it
// takes does not depend on the tokens' values.
func (h *handler) allowed(r *http.Request) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || given == "" {
		return false
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(given)))
	ok := 0
	for _, t := range h.cfg.Tokens {
		value, err := t.Read()
		if err != nil {
			h.log.Warn("a token cannot be read", "token", t.Name, "error", err)
		}
		if err != nil || value == "" {
			continue
		}
		want := sha256.Sum256([]byte(value))
		ok |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return ok == 1
}

func (h *handler) health(w http.ResponseWriter, _ *http.Request) { writeText(w, http.StatusOK, "ok") }

func (h *handler) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	switch skew, err := redisinfo.Skew(ctx, h.cfg.Redis); {
	case err != nil:
		h.log.Warn("not ready: Redis does not answer", "error", err)
		writeText(w, http.StatusServiceUnavailable, "not ready: Redis does not answer")
	case skew.Abs() > redisinfo.MaxSkew:
		writeText(w, http.StatusServiceUnavailable,
			fmt.Sprintf("not ready: this machine's clock and that of Redis are %s apart; set both by NTP", skew.Abs().Round(time.Second)))
	default:
		writeText(w, http.StatusOK, "ready")
	}
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text + "\n")) // an error means that the client has gone
}
