package upstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
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

// maxMaxBody keeps sums of limits far from overflowing.
const maxMaxBody = 1 << 40

// Config describes one upstream. Name and BaseURL are required.
type Config struct {
	// Name is the upstream's name, for errors and logs.
	Name string
	// BaseURL is where every call goes: an http or https URL, perhaps with a
	// path that every call's path is appended to.
	BaseURL string
	// Auth is the credential. The zero value sends none.
	Auth Auth
	// Timeout bounds one call, from the moment its credential is at hand to the
	// last byte of its answer. Defaults to 30 s.
	Timeout time.Duration
	// Concurrency is how many calls are in flight at once; connections are
	// sized by it. Defaults to 16.
	Concurrency int
	// IdempotencyHeader carries Request.IdempotencyKey. Empty: none is sent.
	IdempotencyHeader string
	// MaxBody is the largest body of an answer in bytes, after decompression.
	// Defaults to 8 MiB.
	MaxBody int64
	// Memory bounds how many bytes of large bodies are worked on at once; meanwhile
	// they are in temporary files, and so they are in Answer.Large. nil: all bodies are
	// in memory, and in Answer.Body.
	Memory *spool.Memory
	// CostHeader names the answer's header that says what a call was billed.
	// Defaults to "x-openapi-amount".
	CostHeader string
	// Headers and Query are sent with every call: the parameters and headers that a
	// call sets itself come first. They are not secret, and appear in logs; a
	// credential belongs into Auth.
	Headers map[string]string
	Query   map[string]string
	// KeepHeaders names headers of answers that Kept.Headers is to hold.
	KeepHeaders []string
	// TLS holds files for private authorities and client certificates.
	TLS TLS
	// Dial makes the connections, without TLS. Defaults to net.Dialer's.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger receives events of the credential. Defaults to none.
	Logger *slog.Logger
	// Redactor is told of every credential that the client uses, so that whoever
	// else writes texts can keep them out. Defaults to none.
	Redactor *redact.Redactor
}

// TLS names PEM files. New reads them, and so does every new connection where
// they have changed; connections that stand go on. In a rotation, while a file is
// missing or the key does not fit the certificate, those read last stay in force.
// Connections through a proxy keep to the authorities that New has read.
type TLS struct {
	// CA holds the authorities to trust in place of the system's.
	CA string
	// Cert and Key are the client's certificate and key: both or none.
	Cert, Key string
}

// withDefaults fills the fields that were left zero.
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

// validate returns every fault of c, each under the name of its field. Where a preview
// is all that is wanted, no secret is read.
func (c Config) validate(preview bool) error {
	var errs []error
	fault := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("upstream %q: %s: %w", c.Name, field, fmt.Errorf(format, args...)))
	}
	if c.Name == "" {
		fault("name", "is empty; give the upstream a name")
	}
	if err := httpsyntax.CheckBaseURL(c.BaseURL); err != nil {
		fault("base_url", "%w", err)
	}
	if c.Timeout < 0 {
		fault("timeout", "is negative (%v)", c.Timeout)
	}
	if c.Concurrency < 0 {
		fault("concurrency", "is negative (%d)", c.Concurrency)
	}
	if c.MaxBody < 0 || c.MaxBody > maxMaxBody {
		fault("max_body", "is %d; it must lie between 1 byte and 1 TiB", c.MaxBody)
	}
	if c.IdempotencyHeader != "" {
		switch {
		case !httpsyntax.IsToken(c.IdempotencyHeader):
			fault("idempotency_header", "%q is no header name", c.IdempotencyHeader)
		case httpsyntax.IsReserved(c.IdempotencyHeader):
			fault("idempotency_header", "%s belongs to the worker", c.IdempotencyHeader)
		}
	}
	if !httpsyntax.IsToken(c.CostHeader) {
		fault("cost.header", "%q is no header name", c.CostHeader)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		fault("tls", "cert and key belong together; give both or neither")
	}
	c.Auth.kind().validate(fault, func(field string, s Secret) {
		if s.IsZero() {
			fault("auth."+field, "is missing; this kind of auth needs it")
		} else if !preview {
			if _, err := s.Value(); err != nil {
				fault("auth."+field, "%w", err)
			}
		}
	})
	c.validateAdditions(fault)
	return errors.Join(errs...)
}
