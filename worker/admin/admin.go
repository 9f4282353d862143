package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/propagation"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/seed-2903acc3/callq/worker/admin/page"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/batchreport"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// readyTimeout is how long Redis may take to answer a readiness check.
const readyTimeout = 2 * time.Second

// Config configures the handler. Redis, Ledger, Circuits, Client, Producer, Overview and
// Access are required.
type Config struct {
	// Redis is the queue's: a *redis.Client or *redis.ClusterClient. It is not
	// closed.
	Redis    redis.UniversalClient
	Ledger   *ledger.Ledger
	Circuits *circuit.Store
	// Client cancels and redrives calls.
	Client *tasks.Client
	// Producer enqueues calls. Rules are those that it checks calls against.
	Producer *tasks.Producer
	Rules    tasks.Rules
	// BaseURLs are those of the upstreams: calls for another API are not added to a batch.
	BaseURLs baseurl.Set
	// Overview is what the pages show.
	Overview *overview.Reader
	// Upstreams are the names whose circuits are shown.
	Upstreams []string
	// Concurrency is how many calls of each configured upstream may be in progress.
	Concurrency map[string]int
	// MaxMemory is how many bytes the results in Redis may take; 0: the page does not show
	// whether they do.
	MaxMemory int64
	// Access decides who may use which route. It is kept when the configuration changes.
	Access *access.Control
	// Streams are the open streams of the HTTP API. They are kept when the configuration
	// changes. Defaults to new ones.
	Streams *api.Streams
	// Metrics answers GET /metrics. Defaults to none: there is no such route.
	Metrics http.Handler
	// Logger receives changes and errors. Defaults to none.
	Logger *slog.Logger
}

// handler has the handlers of the routes outside the HTTP API.
type handler struct {
	cfg Config
	log *slog.Logger
}

// New returns the admin server's handler. When ctx ends, open streams and redrives that were
// begun on a page end.
func New(ctx context.Context, cfg Config) (http.Handler, error) {
	routes, err := routesOf(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return secureHeaders(continueTrace(cfg.Access.Handler(routes))), nil
}

// routesOf returns the table of all routes, except those by which browsers sign in: which
// role each needs, and what answers.
func routesOf(ctx context.Context, cfg Config) ([]access.Route, error) {
	if cfg.Redis == nil || cfg.Ledger == nil || cfg.Circuits == nil || cfg.Client == nil || cfg.Producer == nil || cfg.Overview == nil || cfg.Access == nil {
		return nil, errors.New("admin.Config: Redis, Ledger, Circuits, Client, Producer, Overview and Access are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handler{cfg: cfg, log: cfg.Logger}
	monitor := h.monitor()
	routes := []access.Route{
		{Method: http.MethodGet, Pattern: "/healthz", Role: access.Public, Handler: http.HandlerFunc(h.health)},
		{Method: http.MethodGet, Pattern: "/readyz", Role: access.Public, Handler: http.HandlerFunc(h.ready)},
		{Method: http.MethodGet, Pattern: monitorRoot, Role: access.Viewer, Handler: monitor},
		{Method: http.MethodPost, Pattern: monitorRoot, Role: access.Operator, Handler: monitor},
		{Method: http.MethodDelete, Pattern: monitorRoot, Role: access.Operator, Handler: monitor},
	}
	pages := page.New(ctx, page.Config{
		Overview: cfg.Overview, Client: cfg.Client, Circuits: cfg.Circuits, Logger: cfg.Logger, Who: access.Who, SignedIn: cfg.Access.SignedIn,
		Causes:    batchreport.NewFollower(cfg.Redis),
		MayChange: func(ctx context.Context) bool { return access.RoleOf(ctx).Includes(access.Operator) },
	})
	for _, r := range pages.Routes() {
		routes = append(routes, access.Route{Method: r.Method, Pattern: r.Pattern, Role: roleOf(r), Handler: r.Handler})
	}
	if cfg.Metrics != nil {
		routes = append(routes, access.Route{Method: http.MethodGet, Pattern: "/metrics", Role: access.Viewer, Handler: cfg.Metrics})
	}
	v1 := api.New(api.Config{
		Redis: cfg.Redis, Ledger: cfg.Ledger, Circuits: cfg.Circuits, Client: cfg.Client, Producer: cfg.Producer, Rules: cfg.Rules,
		BaseURLs: cfg.BaseURLs, Upstreams: cfg.Upstreams, Concurrency: cfg.Concurrency, MaxMemory: cfg.MaxMemory, Streams: cfg.Streams, Logger: cfg.Logger,
	})
	return append(routes, v1.Routes()...), nil
}

// roleOf returns the role that a route of the pages needs.
func roleOf(r page.Route) access.Role {
	switch {
	case r.Changes:
		return access.Operator
	case r.Public:
		return access.Public
	}
	return access.Viewer
}

// continueTrace puts the span of the client into the request's context, so that calls which
// the client enqueues continue its trace (W3C Trace Context). It has an effect only if the
// producer has a TracerProvider.
func continueTrace(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Traceparent") != "" {
			r = r.WithContext(propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header)))
		}
		next.ServeHTTP(w, r)
	})
}

// secureHeaders adds headers by which browsers restrict what the answers can do.
func secureHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Frame-Options", "DENY")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-store")
		header.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
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

func (h *handler) unavailable(w http.ResponseWriter, what string, err error) {
	h.log.Warn("the admin server cannot "+what, "error", err)
	writeText(w, http.StatusServiceUnavailable, "cannot "+what+" now; see the log")
}
