package upstream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

const (
	// earlyAtMost and the tenth of a token's life say how long before its end a
	// token is renewed, whichever is shorter.
	earlyAtMost = time.Minute
	// renewalPause is how long an early renewal that failed is not tried again;
	// the token still works meanwhile.
	renewalPause = 5 * time.Second
	// mostRetryAfter is the longest that a token endpoint's Retry-After is heeded.
	mostRetryAfter = 25 * time.Hour
)

// grant is a token and how long it lives.
type grant struct {
	token string
	// life is 0 where the endpoint gave none; such a token is used until it is
	// refused.
	life time.Duration
}

// tokens hands out one token to all goroutines and sees to it that one request
// at a time is made for the next.
type tokens struct {
	fetch func(context.Context) (grant, *credentialError)
	log   *slog.Logger

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	current issued
	pending *renewal
	quiet   time.Time
	// refused is the fault of an endpoint that asked to be left alone until then.
	refused *credentialError
	until   time.Time
}

// issued is a token in use. Its zero value is none.
type issued struct {
	token      string
	generation uint64
	// renew and end are zero where the token's life is unknown.
	renew, end time.Time
}

func (i issued) usable(now time.Time) bool {
	return i.token != "" && (i.end.IsZero() || now.Before(i.end))
}

// renewal is one request for a token, and all who wait for it.
type renewal struct {
	done  chan struct{}
	token issued
	err   *credentialError
}

func newTokens(fetch func(context.Context) (grant, *credentialError), log *slog.Logger) *tokens {
	t := &tokens{fetch: fetch, log: log}
	t.ctx, t.stop = context.WithCancel(context.Background())
	return t
}

// get returns the token to use now. It waits only where there is none: a token
// near its end is still handed out while the next is fetched.
func (t *tokens) get(ctx context.Context) (issued, error) {
	t.mu.Lock()
	now := time.Now()
	if t.current.usable(now) {
		token := t.current
		if !token.renew.IsZero() && !now.Before(token.renew) && !now.Before(t.quiet) {
			t.begin()
		}
		t.mu.Unlock()
		return token, nil
	}
	r := t.begin()
	t.mu.Unlock()
	return r.wait(ctx)
}

// renew returns a token newer than used, which the API refused.
func (t *tokens) renew(ctx context.Context, used uint64) (issued, error) {
	t.mu.Lock()
	if t.current.generation > used && t.current.usable(time.Now()) {
		defer t.mu.Unlock()
		return t.current, nil
	}
	r := t.begin()
	t.mu.Unlock()
	return r.wait(ctx)
}

// begin joins the request under way or makes one. t.mu is held.
func (t *tokens) begin() *renewal {
	if t.pending != nil {
		return t.pending
	}
	r := &renewal{done: make(chan struct{})}
	if t.ctx.Err() != nil {
		r.err = unusable(errors.New("the client is closed"))
		close(r.done)
		return r
	}
	if t.refused != nil && time.Now().Before(t.until) {
		r.err = t.refused
		close(r.done)
		return r
	}
	t.pending = r
	t.work.Go(func() { t.run(r) })
	return r
}

func (t *tokens) run(r *renewal) {
	got, err := t.fetch(t.ctx)

	t.mu.Lock()
	defer t.mu.Unlock()
	t.pending = nil
	now := time.Now()
	t.refused = nil
	if err != nil {
		r.err = err
		// A refusal opens a circuit, which holds until then; a fault does not.
		if wait, ok := policy.RetryAfter(err.outcome.Header, err.outcome.ReceivedAt); ok && err.outcome.Transport != policy.TransportNone {
			t.refused, t.until = err, err.outcome.ReceivedAt.Add(min(wait, mostRetryAfter))
		}
		t.quiet = now.Add(renewalPause)
		t.log.Warn("no new token", "error", err.Error())
	} else {
		next := issued{token: got.token, generation: t.current.generation + 1}
		if got.life > 0 {
			next.end = now.Add(got.life)
			next.renew = next.end.Add(-min(earlyAtMost, got.life/10))
		}
		t.current, r.token = next, next
		t.log.Info("new token", "generation", next.generation, "life", got.life)
	}
	close(r.done)
}

// wait returns the renewal's token. Its error is a *credentialError, or ctx's.
func (r *renewal) wait(ctx context.Context) (issued, error) {
	select {
	case <-r.done:
		if r.err != nil {
			return issued{}, r.err
		}
		return r.token, nil
	case <-ctx.Done():
		return issued{}, context.Cause(ctx)
	}
}

func (t *tokens) close() {
	t.stop()
	t.work.Wait()
}
