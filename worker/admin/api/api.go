package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/baseurl"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// requestTimeout is how long Redis may take for one request that is not a stream.
const requestTimeout = 10 * time.Second

// Config configures the API. Everything is required, except where it says so.
type Config struct {
	// Redis is the queue's. It is not closed.
	Redis    redis.UniversalClient
	Ledger   *ledger.Ledger
	Circuits *circuit.Store
	Client   *tasks.Client
	// Producer enqueues calls. Rules are those that it checks calls against.
	Producer *tasks.Producer
	Rules    tasks.Rules
	// BaseURLs are those of the upstreams: calls for another API are not added to a batch.
	BaseURLs baseurl.Set
	// Upstreams are the names of the configured upstreams.
	Upstreams []string
	// Concurrency is how many calls of each configured upstream may be in progress.
	Concurrency map[string]int
	// MaxMemory is how many bytes the results in Redis may take; 0 if that is not known.
	MaxMemory int64
	// Streams are the server's open streams. They are kept when the configuration changes.
	// Defaults to new ones.
	Streams *Streams
	// Logger receives changes and errors. Defaults to none.
	Logger *slog.Logger
}

// API is the HTTP API. It is safe for concurrent use.
type API struct {
	cfg     Config
	log     *slog.Logger
	streams *Streams
	huma    huma.API
	routes  table
}

// New returns the API.
func New(cfg Config) *API {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Streams == nil {
		cfg.Streams = NewStreams()
	}
	a := &API{cfg: cfg, log: cfg.Logger, streams: cfg.Streams}
	a.huma = humago.New(&a.routes, humaConfig())
	a.register()
	return a
}

// Routes returns the rows of the routes, with the roles that they need.
func (a *API) Routes() []access.Route { return a.routes.rows }

// Document returns the description of the API: OpenAPI 3.1, as indented JSON.
func Document() ([]byte, error) { return New(Config{}).document() }

func (a *API) document() ([]byte, error) {
	plain, err := json.Marshal(a.huma.OpenAPI())
	if err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	var b bytes.Buffer
	if err := json.Indent(&b, plain, "", "  "); err != nil {
		return nil, fmt.Errorf("write the OpenAPI document: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// table collects the routes that huma registers.
type table struct {
	rows []access.Route
	// role is the role of the route that is being registered.
	role access.Role
}

// HandleFunc implements [humago.Mux].
func (t *table) HandleFunc(pattern string, handler func(http.ResponseWriter, *http.Request)) {
	method, path, _ := strings.Cut(pattern, " ")
	t.rows = append(t.rows, access.Route{Method: method, Pattern: path, Role: t.role, Handler: http.HandlerFunc(handler)})
}

// ServeHTTP implements [humago.Mux]. Requests come by the table of package access.
func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }

// add registers a route that huma reads the request of and writes the answer of. timeout is
// how long the handler may take.
func add[I, O any](a *API, role access.Role, timeout time.Duration, op huma.Operation, handler func(context.Context, *I) (*O, error)) {
	a.describe(role, &op)
	a.routes.role = role
	op.BodyReadTimeout = idleTimeout
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		out, err := handler(ctx, in)
		if err != nil {
			return nil, a.problemOf(op.Summary, err)
		}
		return out, nil
	})
}

// humaConfig is the configuration of huma: JSON only, no pages, no $schema fields.
func humaConfig() huma.Config {
	jsonFormat := huma.Format{
		Marshal: func(w io.Writer, v any) error {
			var b bytes.Buffer
			encoder := json.NewEncoder(&b)
			encoder.SetEscapeHTML(false)
			if err := encoder.Encode(v); err != nil {
				return err
			}
			_, _ = w.Write(b.Bytes()) // an error means that the client has gone
			return nil
		},
		Unmarshal: json.Unmarshal,
	}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI:    "3.1.0",
			Info:       &huma.Info{Title: "callq", Version: "1", Description: description},
			Components: &huma.Components{SecuritySchemes: map[string]*huma.SecurityScheme{bearer: {Type: "http", Scheme: "bearer", Description: bearerDescription}}},
		},
		Formats:                      map[string]huma.Format{"application/json": jsonFormat, "json": jsonFormat},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{plainProblem},
	}
}
