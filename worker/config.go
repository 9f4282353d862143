package worker

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/trace"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/redact"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

type (
	// Auth is the credential of an upstream: [Bearer], [Basic], [Header], [Query] or
	// [OAuth2]. The zero value sends no credential.
	Auth = upstream.Auth
	// OAuth2Config configures how [OAuth2] gets its tokens.
	OAuth2Config = upstream.OAuth2Config
	// AuthStyle is how an OAuth 2 client shows its id and secret.
	AuthStyle = upstream.AuthStyle
	// Secret is a credential, or where to find it; see the functions of that name.
	Secret = upstream.Secret
	// Redactor removes credentials from texts. Its zero value is ready for use.
	Redactor = redact.Redactor
	// TLS holds the files of a certificate authority and of a client.
	TLS = upstream.TLS
)

// The styles of an OAuth 2 client (RFC 6749, 2.3.1).
const (
	StyleBasic = upstream.StyleBasic
	StyleBody  = upstream.StyleBody
)

// Bearer sends a token in the Authorization header.
func Bearer(token Secret) Auth { return upstream.Bearer(token) }

// Basic sends a user name and a password in the Authorization header.
func Basic(username, password Secret) Auth { return upstream.Basic(username, password) }

// Header sends a secret in a header of its own, such as X-Api-Key.
func Header(name string, value Secret) Auth { return upstream.Header(name, value) }

// Query sends a secret in a query parameter.
func Query(name string, value Secret) Auth { return upstream.Query(name, value) }

// OAuth2 gets bearer tokens by the client credentials grant.
func OAuth2(c OAuth2Config) Auth { return upstream.OAuth2(c) }

// EnvSecret is a credential in an environment variable.
func EnvSecret(name string) Secret { return upstream.EnvSecret(name) }

// FileSecret is a credential in a file, which is read again when it changes.
func FileSecret(path string) Secret { return upstream.FileSecret(path) }

// StaticSecret is a credential that is given as a value.
func StaticSecret(value string) Secret { return upstream.StaticSecret(value) }

// Defaults of Config and Upstream.
const (
	DefaultConcurrency         = 64
	DefaultUpstreamConcurrency = upstream.DefaultConcurrency
	DefaultTimeout             = upstream.DefaultTimeout
	DefaultRetention           = 168 * time.Hour
	DefaultMaxMemory           = 1 << 30
)

// MaxTimeout bounds an upstream's time-out. A call, its replay and the request for a token
// between them must end long before asynq's own time-out of the task, at which asynq acts
// whatever the handler does.
const MaxTimeout = 6 * time.Hour

// DefaultIdempotent has the patterns of calls that may be sent twice without harm (RFC
// 9110, section 9.2.2).
var DefaultIdempotent = []string{"GET *", "HEAD *", "OPTIONS *", "PUT *", "DELETE *"}

// Config configures a Worker. Redis and Upstreams are required.
type Config struct {
	// Redis is the queue's Redis. The worker does not close it; it must stay open until
	// Run has returned.
	Redis redis.UniversalClient
	// Upstreams are the APIs whose calls this worker makes.
	Upstreams []Upstream
	// Concurrency is how many calls this process makes at once, over all
	// upstreams. Defaults to 64.
	Concurrency int
	// Retention is how long done and dropped calls stay in the ledger after
	// their batch has nothing open. Defaults to 168 h.
	Retention time.Duration
	// MaxMemory is how many bytes the results of all queues together may take in Redis.
	// Above it no call starts until some bytes are freed; calls in progress end. Defaults
	// to 1 GiB.
	MaxMemory int64
	// Logger receives one line for each attempt at debug level. At info level it receives
	// accounts that are held or released, and failed attempts ([AttemptFailed]) after which
	// the call is retried, parked or dropped; and at warning level calls that end as dead
	// letters, and what else a person must do something about. Of failures with the same
	// upstream, class, code, rule and action it receives the first three, and then one line
	// a minute that counts the others. Credentials of the upstreams are removed. If Logger
	// is nil, [slog.Default] receives the first of the announcements and dead letters, and
	// nothing else is logged.
	Logger *slog.Logger
	// Redactor collects every credential that the worker uses, as it is read. Share it
	// to remove them from other texts, such as the output of the standard log
	// package, to which net/http writes. Defaults to one of the worker's own.
	Redactor *Redactor
	// Registerer receives the worker's Prometheus metrics: what this process does, not the
	// state of the whole queue. Workers with the same Registerer share the metrics. Defaults
	// to none, which costs nothing.
	Registerer prometheus.Registerer
	// TracerProvider receives a span for each time that this worker takes a call, which
	// continues the producer's, and one for each request, which the API gets as
	// traceparent. Defaults to none, which costs nothing.
	TracerProvider trace.TracerProvider
	// Middleware wraps the making of each attempt, the first one outermost. Defaults to
	// none.
	Middleware []Middleware
	// OnAttempt is called after each attempt of this process was recorded, from many
	// goroutines at once. It must not block. Defaults to none.
	OnAttempt func(AttemptResult)
	// OnEvent is called when a batch has ended, a circuit has opened or closed, or dead
	// letters have a new cause, whichever process made the calls. Each event is reported to
	// one of the workers on the same Redis that have an OnEvent, one event at a time and in
	// the order in which they were found: at least once, since a worker may die before it
	// has recorded that OnEvent returned. Events that happen while no such worker runs are
	// reported later, for seven days and up to 10,000. It should return within seconds.
	// Defaults to none; then the worker looks for events only if Notify needs them.
	OnEvent func(Event)
	// Notify are receivers of the same events over HTTP. Workers on the same Redis should
	// have the same ones; each event is delivered once to each, by any of them. Middleware
	// and OnAttempt do not see the deliveries. Defaults to none.
	Notify []Webhook
	// OnLarge is called before a result with a body of more than 256 KiB is recorded, from
	// many goroutines at once. It may block, so that a process that exports the results can
	// make room in Redis first. written is called with whether the ledger has the body now.
	// Defaults to none.
	OnLarge func(batch, id string, size int64) (written func(stored bool))
	// Journal records the calls that must not be made twice, for the case that Redis loses
	// data. Defaults to none.
	Journal Journal
}

// Journal records which calls that must not be made twice are being sent. Its methods
// are called from many goroutines at once, and not for jobs.
type Journal interface {
	// Sending is called before each attempt of such a call. An error that is
	// [ErrMaybeSent] ends the call as outcome_unknown; after any other error the call is
	// not sent now.
	Sending(call tasks.Call) error
	// Returned is called after a Sending without an error, when the ledger has recorded
	// that the attempt is not the call's last, or that it was not sent.
	Returned(call tasks.Call)
}

// noJournal records nothing.
type noJournal struct{}

func (noJournal) Sending(tasks.Call) error { return nil }
func (noJournal) Returned(tasks.Call)      {}

// ErrMaybeSent reports that a call may have reached its API before the queue lost it.
var ErrMaybeSent = errors.New("the call may have been sent before")

// Upstream is an API with its account. Name, Policy and, unless it only has
// jobs, BaseURL are required.
type Upstream struct {
	// Name is the upstream's name: [a-z0-9_-]{1,64}.
	Name string
	// BaseURL is the URL to which calls' paths are appended. Defaults to what the policy
	// says.
	BaseURL string
	// Policy decides what answers mean.
	Policy *policy.Policy
	// Auth is the credential. Defaults to none.
	Auth Auth
	// Timeout bounds one request, at most [MaxTimeout]. Defaults to 30 s.
	Timeout time.Duration
	// Concurrency is how many calls the whole fleet makes at once, high, normal
	// and low together. Defaults to 16.
	Concurrency int
	// Limits are what the account may do, as in "10/s burst 20", "5000/day",
	// "1000/h reset 08:00 Asia/Shanghai" or "adaptive"; the fleet keeps to all of
	// them. Defaults to none.
	Limits []string
	// Budget is what may be used, as in "100 USD/month" or "20000 calls/day".
	// Defaults to no bound.
	Budget []string
	// CostPerCall is the highest cost of a call, a decimal number as in "0.01", in
	// the budget's currency. Required with a budget of money.
	CostPerCall string
	// Endpoints are patterns that fold paths into one endpoint: "GET /patent/*".
	Endpoints []string
	// Idempotent are patterns of calls that may be sent twice without harm.
	// Defaults to what the policy says, else to [DefaultIdempotent].
	Idempotent []string
	// IdempotencyHeader names a header that the API honours: every request of a
	// call carries the call's id in it, also after a redrive, and every call is
	// idempotent. Defaults to what the policy says, else to none.
	IdempotencyHeader string
	// MaxBody is the largest answer in bytes. Defaults to 8 MiB.
	MaxBody int64
	// CostHeader names the answer's header that has the cost of the call. A budget of
	// money counts that cost. Without a CostHeader the budget counts CostPerCall, and
	// x-openapi-amount is only recorded.
	CostHeader string
	// Headers and Query are sent with every call, unless the call sets the same names
	// itself; the credential is added last. They are not secret. Names that belong to the
	// credential or to HTTP itself are refused. Headers of the policy are added.
	Headers map[string]string
	Query   map[string]string
	// KeepHeaders names headers of answers that results carry, at most 32.
	KeepHeaders []string
	// Verify says how to ask the API whether a call took effect that would end as
	// outcome_unknown. nil: it is not asked.
	Verify *Verify
	// TLS names private authorities and client certificates.
	TLS TLS
}

var upstreamName = regexp.MustCompile(`^[a-z0-9_-]{1,64}$`)

func (c Config) withDefaults() Config {
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.Retention == 0 {
		c.Retention = DefaultRetention
	}
	if c.MaxMemory == 0 {
		c.MaxMemory = DefaultMaxMemory
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Redactor == nil {
		c.Redactor = &Redactor{}
	}
	c.Logger = slog.New(c.Redactor.Handler(c.Logger.Handler()))
	if c.Journal == nil {
		c.Journal = noJournal{}
	}
	if c.OnLarge == nil {
		c.OnLarge = func(string, string, int64) func(bool) { return func(bool) {} }
	}
	if c.OnAttempt == nil {
		c.OnAttempt = func(AttemptResult) {}
	}
	return c
}

// withDefaults fills in what the upstream leaves to its policy.
func (u Upstream) withDefaults() Upstream {
	d := u.Policy.Upstream()
	u.BaseURL = cmp.Or(u.BaseURL, d.BaseURL)
	u.IdempotencyHeader = cmp.Or(u.IdempotencyHeader, d.IdempotencyHeader)
	if u.Idempotent == nil {
		u.Idempotent = d.Idempotent
	}
	if u.Idempotent == nil {
		u.Idempotent = DefaultIdempotent
	}
	taken := append(u.Auth.Headers(), u.IdempotencyHeader)
	headers := map[string]string{}
	maps.Copy(headers, d.HeadersBeside(u.Headers, taken...))
	maps.Copy(headers, u.Headers)
	u.Headers = headers
	return u
}

// upstreamNames returns the names of the upstreams, in the order of the configuration.
func (c Config) upstreamNames() (names []string) {
	for _, u := range c.Upstreams {
		names = append(names, u.Name)
	}
	return names
}

func (c Config) validate() error {
	var errs []error
	if c.Redis == nil {
		errs = append(errs, errors.New("worker.Config: Redis is missing"))
	}
	if len(c.Upstreams) == 0 {
		errs = append(errs, errors.New("worker.Config: Upstreams is empty: name at least one API"))
	}
	if c.Concurrency < 1 {
		errs = append(errs, fmt.Errorf("worker.Config: Concurrency is %d; it must be at least 1", c.Concurrency))
	}
	if c.MaxMemory < 0 {
		errs = append(errs, fmt.Errorf("worker.Config: MaxMemory is %d; it must be at least 1", c.MaxMemory))
	}
	seen := map[string]bool{}
	for i, u := range c.Upstreams {
		switch {
		case !upstreamName.MatchString(u.Name):
			errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Name %q: use 1 to 64 of a-z, 0-9, _ and -", i, u.Name))
		case seen[u.Name]:
			errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Name %q is listed twice", i, u.Name))
		}
		seen[u.Name] = true
		if u.Policy == nil {
			errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Policy is missing", i))
		}
		if u.Timeout < 0 || u.Timeout > MaxTimeout {
			errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Timeout is %s; it must be at most %s", i, u.Timeout, MaxTimeout))
		}
		if u.Verify != nil {
			if err := u.Verify.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Verify: %w", i, err))
			}
		}
		if u.Concurrency < 0 {
			errs = append(errs, fmt.Errorf("worker.Config: Upstreams[%d].Concurrency is %d; it must be at least 1", i, u.Concurrency))
		}
	}
	return errors.Join(errs...)
}
