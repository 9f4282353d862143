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

// Answer is what became of one call.
type Answer struct {
	// Outcome is for the policy. It is zero when NotSent is set.
	Outcome policy.Outcome
	// TokenStatus is the HTTP status of a token endpoint that gave no token, where
	// Outcome describes that; 0 otherwise. Outcome.Status is then what a policy is
	// to make of it.
	TokenStatus int
	// NotSent tells that nothing was sent and that there is nothing to judge:
	// the caller's context ended first, or Err wraps ErrRefused or ErrMachine.
	NotSent bool
	// Body is the answer's body with its content codings undone; as far as it
	// came, where it was cut. Where the codings could not be undone it is the body
	// as it came, and ContentEncoding names them.
	Body []byte
	// Large holds the body instead where it is a large one and Config.Memory is set.
	// The caller must close it; nil may be closed too.
	Large *spool.File
	// Conditional reports that the request carried a precondition (RFC 9110, 13.1).
	Conditional bool
	// ContentType is the answer's, as declared.
	ContentType string
	// ContentEncoding names the codings that Body still has, in the order in which
	// they were applied: "gzip", "gzip, br". Empty: none.
	ContentEncoding string
	// Kept is what is worth keeping of the answer's headers.
	Kept Kept
	// TokenGeneration names the credential that was used, for Refresh.
	TokenGeneration uint64
	// StartedAt is when the request was about to be sent; zero if none was.
	StartedAt time.Time
	// Latency runs from StartedAt to the last byte of the answer, or its failure.
	Latency time.Duration
	// Advice says what the operator can do, beyond the policy's own advice; empty
	// if there is nothing.
	Advice string
	// Err says, for logs and free of secrets, why there is no answer. It is nil
	// where the API answered, with whatever status.
	Err error
}

// Kept holds headers of an answer that outlive it.
type Kept struct {
	CorrelationID string
	RetryAfter    string
	// RateLimit holds the header fields that begin with RateLimit or
	// X-RateLimit, by their canonical names; nil if there are none.
	RateLimit map[string]string
	// Amount is what the call was billed, as the API wrote it.
	Amount string
	// Headers holds those of Config.KeepHeaders that the answer has, by the names
	// that are configured; nil if there are none. The lines of one header are
	// joined by ", " (RFC 9110, 5.3), and one over 8 KiB ends in "…".
	Headers map[string]string
}

// answered reads the final answer.
func (c *Client) answered(run context.Context, resp *http.Response, started time.Time) Answer {
	received := time.Now()
	read := inMemory
	if c.cfg.Memory != nil {
		read = spooled
	}
	body, f := receive(run, resp, c.cfg.MaxBody, read)
	if f != nil {
		return c.unanswered(f, resp.Header, started)
	}
	latency := time.Since(started)
	codings := codingsOf(resp.Header)
	body, release := c.load(body, codings)
	defer release()
	file, before := body.file, body.bytes
	if body, f = body.decode(codings, c.cfg.MaxBody); f != nil {
		file.Close()
		return c.unanswered(f, resp.Header, started)
	}
	// Before they are read: what is cut off later could leave half a secret.
	header := c.secrets.Header(resp.Header)
	body = body.clean(c.secrets)
	o := Read(resp.StatusCode, header, body.bytes, body.cut)
	o.Message = c.secrets.Text(o.Message)
	o.ReceivedAt = received
	a := Answer{
		Outcome: o, Conditional: conditional(resp.Request),
		ContentType: header.Get("Content-Type"), ContentEncoding: body.encoding,
		Kept: c.kept(o), StartedAt: started, Latency: latency,
	}
	a.Body, a.Large = c.store(body, file, before)
	return a
}

// preconditions are the fields of RFC 9110, 13.1, by their canonical names.
var preconditions = []string{"If-None-Match", "If-Modified-Since", "If-Match", "If-Unmodified-Since", "If-Range"}

// conditional reports whether the request asked for an answer on a condition, so
// that the answer may be that nothing is new.
func conditional(r *http.Request) bool {
	for _, name := range preconditions {
		if r != nil && len(r.Header[name]) > 0 {
			return true
		}
	}
	return false
}

// unanswered is a call without a whole answer. Where at least its head came, the
// API's support can look the call up by the id in it.
func (c *Client) unanswered(f *fault, head http.Header, started time.Time) Answer {
	now := time.Now()
	if f.notSent {
		return Answer{NotSent: true, Err: c.failed("not sent", f.err)}
	}
	began := head != nil
	head = c.secrets.Header(head) // it may say when to call again
	text := c.failed(string(f.kind), f.err)
	advice := ""
	if late := c.lateText(f.kind, began, now.Sub(started)); late != "" {
		text = &callError{text: late, known: context.DeadlineExceeded}
		advice = fmt.Sprintf("If the API needs more time, raise timeout (now %s) of upstream %s.", shortduration.Text(c.cfg.Timeout), c.cfg.Name)
	}
	return Answer{
		Outcome:   policy.Outcome{Transport: f.kind, Header: head, CorrelationID: correlationID(head), ReceivedAt: now},
		StartedAt: started, Latency: now.Sub(started),
		Err: text, Advice: advice,
	}
}

// lateText says that the upstream's timeout has ended the call; "" if something
// else has. began reports whether the answer had begun.
func (c *Client) lateText(kind policy.Transport, began bool, after time.Duration) string {
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
		what = "no whole answer"
	}
	limit := shortduration.Text(c.cfg.Timeout)
	return fmt.Sprintf("%s within %s (timeout: %s of upstream %s)", what, limit, limit, c.cfg.Name)
}

// kept picks from the headers of o, which hold no secrets any more.
func (c *Client) kept(o policy.Outcome) Kept {
	k := Kept{
		CorrelationID: o.CorrelationID,
		RetryAfter:    clean([]byte(o.Header.Get("Retry-After")), maxID),
		Amount:        clean([]byte(o.Header.Get(c.cfg.CostHeader)), maxID),
	}
	for name, values := range o.Header {
		plain := strings.TrimPrefix(strings.ToLower(name), "x-")
		if strings.HasPrefix(plain, "ratelimit") {
			if k.RateLimit == nil {
				k.RateLimit = make(map[string]string)
			}
			k.RateLimit[name] = clean([]byte(strings.Join(values, ", ")), maxMessage)
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
		kept := clean([]byte(value), maxKept)
		if len(value) > maxKept {
			kept += "…"
		}
		k.Headers[name] = kept
	}
	return k
}

// failed returns err for logs: without secrets, and without the chain of errors
// that may hold some. What callers branch on stays.
func (c *Client) failed(what string, err error) error {
	out := &callError{text: clean([]byte(c.secrets.Text(fmt.Sprintf("upstream %s: %s: %v", c.cfg.Name, what, err))), maxMessage)}
	for _, known := range []error{ErrRefused, ErrMachine, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, known) {
			out.known = known
		}
	}
	if errors.Is(err, errCallerLeft) {
		out.known = context.Canceled
	}
	return out
}

// callError is the text of an error without what the error held.
type callError struct {
	text  string
	known error
}

func (e *callError) Error() string { return e.text }

func (e *callError) Unwrap() error { return e.known }
