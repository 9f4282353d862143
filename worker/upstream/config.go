package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/redact"
	"github.com/seed-2903acc3/callq/worker/spool"
)

// The defaults of a Config.
const (
	DefaultTimeout     = 30 * time.Second
	DefaultConcurrency = 16
	DefaultMaxBody     = 8 << 20
	DefaultCostHeader  = "x-openapi-amount"
)

// maxMaxBody is the largest MaxBody, in bytes. Sums of limits cannot overflow.
const maxMaxBody = 1 << 40

// Config describes one upstream. Name and BaseURL are required.
type Config struct {
	// Name is the name of the upstream, for errors and logs.
	Name string
	// BaseURL is an http or https URL. The path of each call is appended to it.
	BaseURL string
	// Auth is the credential. The zero value sends none.
	Auth Auth
	// Timeout limits one call, from the moment that its credential is available to the
	// last byte of its answer. Defaults to 30 s.
	Timeout time.Duration
	// Concurrency is the maximum number of calls in flight, and of connections.
	// Defaults to 16.
	Concurrency int
	// IdempotencyHeader is the header for Request.IdempotencyKey. If it is empty, no key
	// is sent.
	IdempotencyHeader string
	// MaxBody is the maximum size of an answer's body in bytes, after decompression.
	// Defaults to 8 MiB.
	MaxBody int64
	// Memory limits the bytes of large bodies that are in memory at once. Other large
	// bodies are in temporary files, and Answer.Large returns them so. If Memory is nil,
	// all bodies are in memory, and in Answer.Body.
	Memory *spool.Memory
	// CostHeader is the header of an answer that contains the price of the call.
	// Defaults to "x-openapi-amount".
	CostHeader string
	// Headers and Query are sent with every call that does not set them itself. They
	// are not secret and appear in logs; a credential belongs in Auth.
	Headers map[string]string
	Query   map[string]string
	// KeepHeaders names the headers of answers to return in Kept.Headers.
	KeepHeaders []string
	// Policy says where the API's answers have their code, message and flag. nil reads
	// none of them.
	Policy *policy.Policy
	// TLS names files with private authorities and a client certificate.
	TLS TLS
	// Dial opens connections, without TLS. Defaults to net.Dialer.DialContext.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger receives the events of the credential. Defaults to none.
	Logger *slog.Logger
	// Redactor receives every credential that the client uses, so that other writers can
	// remove them from their texts. Defaults to none.
	Redactor *redact.Redactor
}

// TLS names PEM files. New reads them. Every new connection reads them again if they have
// changed; open connections are not affected. If a file is missing or the key does not
// match the certificate, as during a rotation, the files that were read last stay in use.
// Connections through a proxy always use the authorities that New has read.
type TLS struct {
	// CA has the authorities to trust instead of those of the system.
	CA string
	// Cert and Key are the certificate and key of the client; set both or neither.
	Cert, Key string
}

// withDefaults sets the fields that are zero to their defaults.
func (c Config) withDefaults() Config {
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Concurrency == 0 {
		c.Concurrency = DefaultConcurrency
	}
	if c.MaxBody == 0 {
		c.MaxBody = DefaultMaxBody
	}
	if c.CostHeader == "" {
		c.CostHeader = DefaultCostHeader
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// validate returns every error in c, each with the name of its field. For a preview it
// reads no secret.
func (c Config) validate(preview bool) error {
	var errs []error
	report := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("upstream %q: %s: %w", c.Name, field, fmt.Errorf(format, args...)))
	}
	if c.Name == "" {
		report("name", "is empty; give the upstream a name")
	}
	if err := httpsyntax.CheckBaseURL(c.BaseURL); err != nil {
		report("base_url", "%w", err)
	}
	if c.Timeout < 0 {
		report("timeout", "is negative (%v)", c.Timeout)
	}
	if c.Concurrency < 0 {
		report("concurrency", "is negative (%d)", c.Concurrency)
	}
	if c.MaxBody < 0 || c.MaxBody > maxMaxBody {
		report("max_body", "is %d; it must be between 1 byte and 1 TiB", c.MaxBody)
	}
	if c.IdempotencyHeader != "" {
		switch {
		case !httpsyntax.IsToken(c.IdempotencyHeader):
			report("idempotency_header", "%q is not a header name", c.IdempotencyHeader)
		case httpsyntax.IsReserved(c.IdempotencyHeader):
			report("idempotency_header", "%s is set by the worker; choose another header", c.IdempotencyHeader)
		}
	}
	if !httpsyntax.IsToken(c.CostHeader) {
		report("cost.header", "%q is not a header name", c.CostHeader)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		report("tls", "cert and key must be set together; set both or neither")
	}
	c.Auth.kind().validate(report, func(field string, s Secret) {
		if s.IsZero() {
			report("auth."+field, "is missing; this kind of auth needs it")
		} else if !preview {
			if _, err := s.Value(); err != nil {
				report("auth."+field, "%w", err)
			}
		}
	})
	c.validateAdditions(report)
	return errors.Join(errs...)
}
