package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/shortduration"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/spool"
)

// Answer is the result of one call.
type Answer struct {
	// Outcome is for the policy. It is zero when NotSent is set.
	Outcome policy.Outcome
	// TokenStatus is the HTTP status of a token endpoint that returned no token; 0 if the
	// call did not fail for that reason. Outcome.Status then has the status that the
	// policy should judge, which may differ.
	TokenStatus int
	// NotSent reports that nothing was sent and the policy has nothing to decide:
	// the caller's context ended first, or Err wraps ErrRefused or ErrMachine.
	NotSent bool
	// Body is the body of the answer without its content codings. If the body was cut, it
	// is the part that arrived. If it could not be decoded, it is the encoded body, and
	// ContentEncoding names the codings.
	Body []byte
	// Large holds the body instead of Body if it is large and Config.Memory is set.
	// The caller must close it; closing nil is allowed.
	Large *spool.File
	// Conditional reports that the request carried a precondition (RFC 9110, 13.1).
	Conditional bool
	// ContentType is the Content-Type header of the answer.
	ContentType string
	// ContentEncoding names the codings that Body still has, in the order in which
	// they were applied: "gzip", "gzip, br". It is empty if Body is decoded.
	ContentEncoding string
	// Kept has the headers of the answer that results carry.
	Kept Kept
	// TokenGeneration identifies the credential that was used, for Refresh.
	TokenGeneration uint64
	// Requests is how many requests were sent: more than one if redirects were followed, and
	// none if no connection was made.
	Requests int
	// StartedAt is the time right before the request was sent; zero if none was.
	StartedAt time.Time
	// Latency is the time from StartedAt to the last byte of the answer or to its failure.
	Latency time.Duration
	// Advice says what the operator can do, in addition to the advice of the policy; it
	// may be empty.
	Advice string
	// Err says why there is no answer. It contains no secrets and may be logged. It is nil
	// if the API answered, with any status.
	Err error
}

// Kept holds the headers of an answer that are kept in results and logs.
type Kept struct {
	CorrelationID string
	RetryAfter    string
	// RateLimit holds the header fields that begin with RateLimit or
	// X-RateLimit, by their canonical names; nil if there are none.
	RateLimit map[string]string
	// Amount is the price of the call as the API wrote it.
	Amount string
	// Headers holds the headers of Config.KeepHeaders that the answer has, by their
	// configured names; nil if there are none. The lines of one header are joined with
	// ", " (RFC 9110, 5.3). A value over 8 KiB is cut and ends in "…".
	Headers map[string]string
}

// readAnswer reads the final answer.
func (c *Client) readAnswer(run context.Context, resp *http.Response, started time.Time) Answer {
	received := time.Now()
	read := readInMemory
	if c.cfg.Memory != nil {
		read = readSpooled
	}
	body, f := receive(run, resp, c.cfg.MaxBody, read)
	if f != nil {
		return c.failedAnswer(f, resp.Header, started)
	}
	latency := time.Since(started)
	codings := codingsOf(resp.Header)
	body, release := c.load(body, codings)
	defer release()
	file, before := body.file, body.bytes
	if body, f = body.decode(codings, c.cfg.MaxBody); f != nil {
		file.Close()
		return c.failedAnswer(f, resp.Header, started)
	}
	// Secrets are removed before anything is cut: a cut could leave half a secret.
	header := c.secrets.Header(resp.Header)
	body = body.redact(c.secrets)
	o := c.cfg.Policy.ReadAnswer(policy.Response{Status: resp.StatusCode, Header: header, Body: body.bytes, Cut: body.cut})
	o.Message = c.secrets.Text(o.Message)
	o.ReceivedAt = received
	a := Answer{
		Outcome: o, Conditional: resp.Request != nil && IsConditional(resp.Request.Header),
		ContentType: header.Get("Content-Type"), ContentEncoding: body.encoding,
		Kept: c.keptHeaders(o), StartedAt: started, Latency: latency,
	}
	a.Body, a.Large = c.store(body, file, before)
	return a
}

// preconditions are the fields of RFC 9110, 13.1, by their canonical names.
var preconditions = []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"}

// IsConditional reports whether a request with this header has a precondition. The answer
// may then be that nothing has changed.
func IsConditional(header http.Header) bool {
	for _, name := range preconditions {
		if len(header[name]) > 0 {
			return true
		}
	}
	return false
}

// failedAnswer describes a call without a complete answer. head has the headers if they
// arrived: the support of the API can find the call by the correlation id in them.
func (c *Client) failedAnswer(f *failure, head http.Header, started time.Time) Answer {
	now := time.Now()
	if f.notSent {
		return Answer{NotSent: true, Err: c.redactedError("not sent", f.err)}
	}
	began := head != nil
	head = c.secrets.Header(head) // it may contain Retry-After
	text := c.redactedError(string(f.kind), f.err)
	advice := ""
	if timeout := c.timeoutText(f.kind, began, now.Sub(started)); timeout != "" {
		text = &callError{text: timeout, wrapped: context.DeadlineExceeded}
		advice = fmt.Sprintf("If the API needs more time, raise timeout (now %s) of upstream %s.", shortduration.Text(c.cfg.Timeout), c.cfg.Name)
	}
	return Answer{
		Outcome:   policy.Outcome{Transport: f.kind, Header: head, CorrelationID: policy.CorrelationID(head), ReceivedAt: now},
		StartedAt: started, Latency: now.Sub(started),
		Err: text, Advice: advice,
	}
}

// timeoutText says that the timeout of the upstream ended the call; it is "" if the cause
// was another one. began reports whether the answer had begun.
func (c *Client) timeoutText(kind policy.Transport, began bool, after time.Duration) string {
	if after < c.cfg.Timeout {
		return ""
	}
	what := "no answer"
	switch {
	case kind == policy.TransportTimeoutBeforeSend:
		what = "no connection"
	case kind != policy.TransportTimeoutAfterSend:
		return ""
	case began:
		what = "no complete answer"
	}
	limit := shortduration.Text(c.cfg.Timeout)
	return fmt.Sprintf("%s within %s (timeout: %s of upstream %s)", what, limit, limit, c.cfg.Name)
}

// keptHeaders selects from the headers of o, which must contain no secrets.
func (c *Client) keptHeaders(o policy.Outcome) Kept {
	k := Kept{
		CorrelationID: o.CorrelationID,
		RetryAfter:    sanitize([]byte(o.Header.Get("Retry-After")), maxID),
		Amount:        sanitize([]byte(o.Header.Get(c.cfg.CostHeader)), maxID),
	}
	for name, values := range o.Header {
		plain := strings.TrimPrefix(strings.ToLower(name), "x-")
		if strings.HasPrefix(plain, "ratelimit") {
			if k.RateLimit == nil {
				k.RateLimit = make(map[string]string)
			}
			k.RateLimit[name] = sanitize([]byte(strings.Join(values, ", ")), maxMessage)
		}
	}
	for _, name := range c.cfg.KeepHeaders {
		values := o.Header.Values(name)
		if len(values) == 0 {
			continue
		}
		if k.Headers == nil {
			k.Headers = make(map[string]string, len(c.cfg.KeepHeaders))
		}
		value := strings.Join(values, ", ")
		kept := sanitize([]byte(value), maxKept)
		if len(value) > maxKept {
			kept += "…"
		}
		k.Headers[name] = kept
	}
	return k
}

// redactedError returns err for logs: without secrets, and without the chain of wrapped
// errors, which may contain some. It still wraps the errors that callers compare with.
func (c *Client) redactedError(what string, err error) error {
	out := &callError{text: sanitize([]byte(c.secrets.Text(fmt.Sprintf("upstream %s: %s: %v", c.cfg.Name, what, err))), maxMessage)}
	for _, known := range []error{ErrRefused, ErrMachine, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			out.wrapped = known
		}
	}
	if errors.Is(err, errCallerCanceled) {
		out.wrapped = context.Canceled
	}
	return out
}

// callError is an error's redacted text. It wraps at most one well-known error.
type callError struct {
	text    string
	wrapped error
}

func (e *callError) Error() string { return e.text }

func (e *callError) Unwrap() error { return e.wrapped }
