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
	// maxRedacted is how many credentials a client looks for in answers. Tokens come
	// and go; each one costs a search through every answer.
	maxRedacted = 32
	// maxRedirects is how many redirects one call follows.
	maxRedirects = 5
	// maxKept bounds each header that results carry, in bytes. The header of an
	// answer as a whole is bounded by maxHeader.
	maxKept = 8 << 10
	// maxKeepHeaders is how many headers of an answer results may carry.
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
	// authHeader and authQuery are the names that carry the credential.
	authHeaders []string
	authQuery   []string
	additions   additions
}

// New returns a client for the upstream of cfg. Its errors name the field that
// is wrong, and join where several are. Secrets are looked up, to see that they
// are there; nothing is sent.
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
		return nil, fmt.Errorf("upstream %q: base_url: is no URL", cfg.Name)
	}
	c := &Client{
		cfg: cfg, base: *base, basePath: cleanBasePath(base),
		rt: newTransport(cfg.Concurrency, files, cfg.Dial, &habits{tell: func() {
			cfg.Logger.Warn("the API sends bytes after the end of an answer; its connections are not used again", "upstream", cfg.Name)
		}}), secrets: redact.New(maxRedacted, cfg.Redactor),
		authHeaders: cfg.Auth.Headers(), authQuery: cfg.Auth.Parameters(), additions: newAdditions(cfg),
	}
	learnProxies(c.secrets, os.Getenv)
	c.auth = cfg.Auth.kind().authorizer(authUse{
		cfg: cfg, secrets: c.secrets,
		// Connections of its own: calls that wait for a token may not stand in its way.
		transport: func() *http.Transport { return newTransport(2, files, cfg.Dial, &habits{}) },
	})
	if s, ok := c.auth.(*staticAuth); ok {
		if _, err := s.look(false); err != nil {
			return nil, fmt.Errorf("upstream %q: auth: %w", cfg.Name, err)
		}
	}
	return c, nil
}

// Close stops what runs in the background and closes idle connections. Calls in
// flight go on; later ones fail or make connections anew.
func (c *Client) Close() {
	c.auth.close()
	c.rt.CloseIdleConnections()
}

// CanRefresh tells whether Refresh may find a credential newer than the one of
// generation used: always so for OAuth 2, and for the others where a file that
// holds a secret has changed. It may read files.
func (c *Client) CanRefresh(used uint64) bool { return c.auth.canRefresh(used) }

// Refresh looks for a credential newer than the one of generation used, which
// the API refused, and tells whether there is one: then the call may be made
// again. Many goroutines that were refused with one token cause one request for
// the next; who comes late, with a generation that is past already, causes none.
// The error is free of secrets.
func (c *Client) Refresh(ctx context.Context, used uint64) (fresh bool, err error) {
	fresh, err = c.auth.refresh(ctx, used)
	if err != nil {
		return false, c.failed("refresh", err)
	}
	return fresh, nil
}

// Do makes one call and always returns an Answer. Until the request has a
// connection, the end of ctx withdraws it; from then on it is waited for, up to
// the upstream's time-out, since a request that is on its way may act.
func (c *Client) Do(ctx context.Context, r Request) Answer {
	if ctx.Err() != nil {
		return Answer{NotSent: true, Err: c.failed("not sent", context.Cause(ctx))}
	}
	p, err := c.prepare(r)
	if err != nil {
		return Answer{NotSent: true, Err: c.failed("not sent", err)}
	}
	cred, err := c.auth.credential(ctx)
	if err != nil {
		var refused *credentialError
		if cause := machineFault(err); cause != nil {
			err = cause
		}
		if !errors.As(err, &refused) || errors.Is(err, ErrMachine) {
			return Answer{NotSent: true, Err: c.failed("not sent", err)}
		}
		o := refused.outcome
		if o.ReceivedAt.IsZero() {
			o.ReceivedAt = time.Now()
		}
		return Answer{Outcome: o, TokenStatus: refused.status, Kept: c.kept(o), Err: c.failed("no credential", err)}
	}
	a := c.send(ctx, p, cred)
	a.TokenGeneration = cred.generation
	return a
}

// send makes the request and follows redirects.
func (c *Client) send(ctx context.Context, p *prepared, cred credential) Answer {
	started := time.Now()
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.cfg.Timeout)
	defer cancel()

	target, body := p.url, p.body
	for hop := 0; ; hop++ {
		resp, f := c.exchange(run, ctx, p, target, body, cred, hop)
		if f != nil {
			return c.unanswered(f, nil, started)
		}
		next, f := redirect(p.method, resp, &target)
		if f == nil && next != nil && hop == maxRedirects {
			f = &fault{kind: policy.TransportRedirect, err: fmt.Errorf("stopped after %d redirects", maxRedirects)}
		}
		if f != nil {
			_ = resp.Body.Close()
			return c.unanswered(f, resp.Header, started)
		}
		if next == nil {
			return c.answered(run, resp, started)
		}
		if _, f := readBody(run, resp, maxHeader); f != nil && f.kind != policy.TransportTooLarge {
			return c.unanswered(f, resp.Header, started)
		}
		if resp.StatusCode != http.StatusTemporaryRedirect && resp.StatusCode != http.StatusPermanentRedirect {
			body = nil
		}
		target = *next
	}
}

// exchange sends one hop. Where a kept connection turns out to be dead before
// anything left, it takes another: the request is still to be sent for the
// first time.
func (c *Client) exchange(run, caller context.Context, p *prepared, target url.URL, body []byte, cred credential, hop int) (*http.Response, *fault) {
	if hop > 0 {
		caller = run
	}
	for try := 1; ; try++ {
		var sendBy time.Time // a redirect that is followed belongs to the one request
		if hop == 0 {
			if err := p.confirmNow(run); err != nil {
				return nil, &fault{notSent: true, err: err}
			}
			sendBy = p.sendBy()
		}
		u := target
		req := newRequest(run, p, &u, body)
		cred.apply(req.Header, req.URL)
		resp, f := roundTrip(caller, c.rt, req, p.once, sendBy)
		if f == nil {
			return resp, nil
		}
		if f.again && try < maxFresh+c.cfg.Concurrency && caller.Err() == nil {
			continue
		}
		if hop > 0 {
			f.kind, f.notSent = afterSend(f.kind), false
		}
		return nil, f
	}
}

// afterSend names a later hop's fault: the first hop's request has left.
func afterSend(t policy.Transport) policy.Transport {
	switch t {
	case policy.TransportTimeoutBeforeSend:
		return policy.TransportTimeoutAfterSend
	case policy.TransportResetBeforeSend, policy.TransportDial, policy.TransportDNS:
		return policy.TransportResetAfterSend
	}
	return t
}

// redirect returns where resp leads, or nil if it is the final answer. To leave
// the origin, or https, is a fault.
func redirect(method string, resp *http.Response, from *url.URL) (*url.URL, *fault) {
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
		return nil, &fault{kind: policy.TransportRedirect, err: errors.New("redirected to what is no URL")}
	}
	if !sameOrigin(from, next) {
		return nil, &fault{
			kind: policy.TransportRedirect,
			err:  fmt.Errorf("redirected to another origin, %s://%s; correct base_url if it has moved", next.Scheme, next.Host),
		}
	}
	next.Fragment, next.RawFragment = "", ""
	// net/url leaves it in a query, where it would end the request's target.
	next.RawQuery = strings.ReplaceAll(next.RawQuery, " ", "%20")
	return next, nil
}
