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
	// maxRenewalLead is the longest time before its end at which a token is renewed. The
	// lead is a tenth of the token's lifetime if that is shorter.
	maxRenewalLead = time.Minute
	// renewalPause is the time between two attempts at an early renewal. The current
	// token is still valid meanwhile.
	renewalPause = 5 * time.Second
	// maxRetryAfter is the longest Retry-After of a token endpoint that is obeyed.
	maxRetryAfter = 25 * time.Hour
)

// grant is a token and its lifetime.
type grant struct {
	token string
	// lifetime is 0 if the endpoint gave none. Such a token is used until the API
	// refuses it.
	lifetime time.Duration
}

// tokens provides one token to all goroutines. It makes at most one token request at a
// time.
type tokens struct {
	fetch func(context.Context) (grant, *credentialError)
	log   *slog.Logger

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	mu      sync.Mutex
	current issued
	pending *renewal
	// nextEarly is the earliest time of the next early renewal.
	nextEarly time.Time
	// refused is the last error of an endpoint that answered with Retry-After. It is
	// returned, without a request, until refusedUntil.
	refused      *credentialError
	refusedUntil time.Time
}

// issued is a token in use. The zero value means that there is none.
type issued struct {
	token      string
	generation uint64
	// renew is when the token should be renewed, end when it expires. Both are zero if its
	// lifetime is unknown.
	renew, end time.Time
}

func (i issued) usable(now time.Time) bool {
	return i.token != "" && (i.end.IsZero() || now.Before(i.end))
}

// renewal is one token request, for which several goroutines may wait.
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

// get returns the current token. It waits only if there is none: a token near its end is
// still returned while the next one is fetched.
func (t *tokens) get(ctx context.Context) (issued, error) {
	t.mu.Lock()
	now := time.Now()
	if t.current.usable(now) {
		token := t.current
		if !token.renew.IsZero() && !now.Before(token.renew) && !now.Before(t.nextEarly) {
			t.startLocked()
		}
		t.mu.Unlock()
		return token, nil
	}
	r := t.startLocked()
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
	r := t.startLocked()
	t.mu.Unlock()
	return r.wait(ctx)
}

// startLocked returns the pending renewal or starts a new one. It must be called with
// t.mu held.
func (t *tokens) startLocked() *renewal {
	if t.pending != nil {
		return t.pending
	}
	r := &renewal{done: make(chan struct{})}
	if t.ctx.Err() != nil {
		r.err = unauthorized(errors.New("the client is closed"))
		close(r.done)
		return r
	}
	if t.refused != nil && time.Now().Before(t.refusedUntil) {
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
		// If the endpoint refused the client, a circuit opens and holds the calls until
		// then. After another failure no circuit opens, so the wait is enforced here.
		if wait, ok := policy.RetryAfter(err.outcome.Header, err.outcome.ReceivedAt); ok && err.outcome.Transport != policy.TransportNone {
			t.refused, t.refusedUntil = err, err.outcome.ReceivedAt.Add(min(wait, maxRetryAfter))
		}
		t.nextEarly = now.Add(renewalPause)
		t.log.Warn("cannot get a new token", "error", err.Error())
	} else {
		next := issued{token: got.token, generation: t.current.generation + 1}
		if got.lifetime > 0 {
			next.end = now.Add(got.lifetime)
			next.renew = next.end.Add(-min(maxRenewalLead, got.lifetime/10))
		}
		t.current, r.token = next, next
		t.log.Info("got a new token", "generation", next.generation, "lifetime", got.lifetime)
	}
	close(r.done)
}

// wait returns the token of the renewal. Its error is a *credentialError or the error of
// ctx.
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
