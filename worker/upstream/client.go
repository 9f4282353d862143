package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/redact"
)

const (
	// maxRedacted is how many credentials a client removes from answers. Old tokens are
	// displaced: each credential costs a search through every answer.
	maxRedacted = 32
	// maxRedirects is how many redirects one call follows.
	maxRedirects = 5
	// maxKept limits each header in a result, in bytes. maxHeader limits all headers of
	// an answer together.
	maxKept = 8 << 10
	// maxKeepHeaders is how many headers of an answer a result may have.
	maxKeepHeaders = 32
)

// Client makes calls to one upstream. It is safe for concurrent use.
type Client struct {
	cfg      Config
	base     url.URL
	basePath string
	rt       *http.Transport
	auth     authorizer
	secrets  *redact.Redactor
	// authHeaders and authQuery are the names of the headers and parameters that carry
	// the credential.
	authHeaders []string
	authQuery   []string
	additions   additions
}

// New returns a client for the upstream of cfg. Its error names every invalid field. New
// reads the secrets to check that they exist; it sends nothing.
func New(cfg Config) (*Client, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(false); err != nil {
		return nil, err
	}
	files, err := newTLSFiles(cfg)
	if err != nil {
		return nil, err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return nil, fmt.Errorf("upstream %q: base_url: is not a URL", cfg.Name)
	}
	c := &Client{
		cfg: cfg, base: *base, basePath: cleanBasePath(base),
		rt: newTransport(cfg.Concurrency, files, cfg.Dial, &serverBehavior{onExtraBytes: func() {
			cfg.Logger.Warn("the API sends bytes after the end of an answer; each connection is now used for one call only", "upstream", cfg.Name)
		}}), secrets: redact.New(maxRedacted, cfg.Redactor),
		authHeaders: cfg.Auth.Headers(), authQuery: cfg.Auth.Parameters(), additions: newAdditions(cfg),
	}
	addProxySecrets(c.secrets, os.Getenv)
	c.auth = cfg.Auth.kind().authorizer(authEnv{
		cfg: cfg, secrets: c.secrets,
		// A separate transport: calls that wait for a token must not block the token request.
		transport: func() *http.Transport { return newTransport(2, files, cfg.Dial, &serverBehavior{}) },
	})
	if s, ok := c.auth.(*staticAuth); ok {
		if _, err := s.current(false); err != nil {
			return nil, fmt.Errorf("upstream %q: auth: %w", cfg.Name, err)
		}
	}
	return c, nil
}

// Close stops background work and closes idle connections. Calls in flight go on. Later
// calls fail or open new connections.
func (c *Client) Close() {
	c.auth.close()
	c.rt.CloseIdleConnections()
}

// CanRefresh reports whether Refresh may find a credential newer than generation used, and
// whether it may help: for OAuth 2 unless NoteRefused was called for it within the last
// minute, and for other kinds if a file with a secret has changed. It may read files.
func (c *Client) CanRefresh(used uint64) bool { return c.auth.canRefresh(used) }

// NoteRefused records that the API refused the credential of that generation, which
// Refresh had just found: the cause is not that the credential is old.
func (c *Client) NoteRefused(generation uint64) { c.auth.noteRefused(generation) }

// NoteAccepted records that the API accepted the credential of that generation.
func (c *Client) NoteAccepted(generation uint64) { c.auth.noteAccepted(generation) }

// Refresh looks for a credential newer than generation used, which the API refused. It
// reports whether there is one: then the call may be made again. If several goroutines
// were refused with the same token, they share one token request. A goroutine whose
// generation is outdated already causes no request. The error contains no secrets.
func (c *Client) Refresh(ctx context.Context, used uint64) (fresh bool, err error) {
	fresh, err = c.auth.refresh(ctx, used)
	if err != nil {
		return false, c.redactedError("refresh", err)
	}
	return fresh, nil
}

// Do makes one call and always returns an Answer. If ctx ends before the request has a
// connection, the call is cancelled. After that Do ignores ctx and waits for the answer,
// up to the timeout of the upstream, because the API may already be acting on the request.
func (c *Client) Do(ctx context.Context, r Request) Answer {
	if ctx.Err() != nil {
		return Answer{NotSent: true, Err: c.redactedError("not sent", context.Cause(ctx))}
	}
	p, err := c.prepare(r)
	if err != nil {
		return Answer{NotSent: true, Err: c.redactedError("not sent", err)}
	}
	cred, err := c.auth.credential(ctx)
	if err != nil {
		var refused *credentialError
		if cause := machineErrorOf(err); cause != nil {
			err = cause
		}
		if !errors.As(err, &refused) || errors.Is(err, ErrMachine) {
			return Answer{NotSent: true, Err: c.redactedError("not sent", err)}
		}
		o := refused.outcome
		if o.ReceivedAt.IsZero() {
			o.ReceivedAt = time.Now()
		}
		return Answer{Outcome: o, TokenStatus: refused.status, Kept: c.keptHeaders(o), Err: c.redactedError("no credential", err)}
	}
	a := c.send(ctx, p, cred)
	a.TokenGeneration = cred.generation
	return a
}

// send makes the request and follows redirects.
func (c *Client) send(ctx context.Context, p *prepared, cred credential) Answer {
	requests := 0
	a := c.follow(ctx, p, cred, &requests)
	a.Requests = requests
	return a
}

// follow is send; it counts the requests that were sent.
func (c *Client) follow(ctx context.Context, p *prepared, cred credential, requests *int) Answer {
	started := time.Now()
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Timeout)
	defer cancel()

	target, body := p.url, p.body
	for hop := 0; ; hop++ {
		resp, f := c.exchange(run, ctx, p, target, body, cred, hop)
		if f == nil || !f.unsent {
			*requests++
		}
		if f != nil {
			return c.failedAnswer(f, nil, started)
		}
		next, f := redirect(p.method, resp, &target)
		if f == nil && next != nil && hop == maxRedirects {
			f = &failure{kind: policy.TransportRedirect, err: fmt.Errorf("stopped after %d redirects", maxRedirects)}
		}
		if f != nil {
			_ = resp.Body.Close()
			return c.failedAnswer(f, resp.Header, started)
		}
		if next == nil {
			return c.readAnswer(run, resp, started)
		}
		if _, f := readBody(run, resp, maxHeader); f != nil && f.kind != policy.TransportTooLarge {
			return c.failedAnswer(f, resp.Header, started)
		}
		if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
			body = nil
		}
		target = *next
	}
}

// exchange sends the request of one hop. If an idle connection turns out to be dead
// before any byte of the request was sent, exchange takes another one: this is still the
// first time that the request is sent.
func (c *Client) exchange(run, caller context.Context, p *prepared, target url.URL, body []byte, cred credential, hop int) (*http.Response, *failure) {
	if hop > 0 {
		caller = run
	}
	for try := 1; ; try++ {
		var sendBy time.Time // the deadline applies to the first hop only
		if hop == 0 {
			if err := p.confirmIfNeeded(run); err != nil {
				return nil, &failure{notSent: true, unsent: true, err: err}
			}
			sendBy = p.sendBy()
		}
		u := target
		req := newRequest(run, p, &u, body)
		cred.apply(req.Header, req.URL)
		resp, f := roundTrip(caller, c.rt, req, p.nonIdempotent, sendBy)
		if f == nil {
			return resp, nil
		}
		if f.retryOnNewConn && try < maxExtraConns+c.cfg.Concurrency && caller.Err() == nil {
			continue
		}
		f.unsent = f.notSent || f.kind == policy.TransportTLS || afterSend(f.kind) != f.kind
		if hop > 0 {
			f.kind, f.notSent = afterSend(f.kind), false
		}
		return nil, f
	}
}

// afterSend returns the kind of failure for a later hop: the request of the first hop was
// sent, so the call was sent.
func afterSend(t policy.Transport) policy.Transport {
	switch t {
	case policy.TransportTimeoutBeforeSend:
		return policy.TransportTimeoutAfterSend
	case policy.TransportResetBeforeSend, policy.TransportDial, policy.TransportDNS:
		return policy.TransportResetAfterSend
	}
	return t
}

// redirect returns the URL that resp redirects to, or nil if resp is the final answer. A
// redirect to another origin, or from https to http, is a failure.
func redirect(method string, resp *http.Response, from *url.URL) (*url.URL, *failure) {
	if method != http.MethodGet && method != http.MethodHead {
		return nil, nil
	}
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil, nil
	}
	location := resp.Header.Get("Location")
	if location == "" {
		return nil, nil
	}
	next, err := from.Parse(location)
	if err != nil {
		return nil, &failure{kind: policy.TransportRedirect, err: errors.New("redirected to an invalid URL")}
	}
	if !sameOrigin(from, next) {
		return nil, &failure{
			kind: policy.TransportRedirect,
			err:  fmt.Errorf("redirected to another origin, %s://%s; correct base_url if it has moved", next.Scheme, next.Host),
		}
	}
	next.Fragment, next.RawFragment = "", ""
	// net/url does not encode a space in a query; it would end the target of the request line.
	next.RawQuery = strings.ReplaceAll(next.RawQuery, " ", "%20")
	return next, nil
}
