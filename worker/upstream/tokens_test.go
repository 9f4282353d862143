package upstream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// countingTokens returns tokens with the given lifetime, the number of token requests, and
// a switch that makes the requests fail.
func countingTokens(lifetime time.Duration) (*tokens, *atomic.Int32, *atomic.Bool) {
	var (
		fetched atomic.Int32
		fail    atomic.Bool
	)
	return newTokens(func(context.Context) (grant, *credentialError) {
		n := fetched.Add(1)
		if fail.Load() {
			return grant{}, unauthorized(errors.New("down"))
		}
		return grant{token: fmt.Sprint("t", n), lifetime: lifetime}, nil
	}, quietLog), &fetched, &fail
}

func TestATokenIsRenewedBeforeItExpires(t *testing.T) {
	for life, early := range map[time.Duration]time.Duration{1799 * time.Second: time.Minute, 30 * time.Second: 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			tokens, fetched, _ := countingTokens(life)
			defer tokens.close()
			tokens.get(t.Context())
			<-time.After(life - early - time.Millisecond)
			tokens.get(t.Context())
			synctest.Wait()
			if fetched.Load() != 1 {
				t.Errorf("life %v: renewed too early", life)
			}
			<-time.After(time.Millisecond)
			// No call waits for the new token while the old one is valid.
			for range 5 {
				if got, err := tokens.get(t.Context()); got.token != "t1" && got.token != "t2" || err != nil {
					t.Errorf("life %v: %q, %v", life, got.token, err)
				}
			}
			synctest.Wait()
			if got, _ := tokens.get(t.Context()); got.token != "t2" || got.generation != 2 || fetched.Load() != 2 {
				t.Errorf("life %v: %q after %d token requests", life, got.token, fetched.Load())
			}
		})
	}
}

func TestAnEarlyRenewalThatFailsLeavesTheTokenInUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, fetched, fail := countingTokens(100 * time.Second)
		defer tokens.close()
		tokens.get(t.Context())
		fail.Store(true)
		<-time.After(91 * time.Second)
		for range 10 {
			if got, err := tokens.get(t.Context()); got.token != "t1" || err != nil {
				t.Errorf("%q, %v", got.token, err)
			}
			synctest.Wait()
		}
		if fetched.Load() != 2 {
			t.Errorf("got %d token requests, want 2: a pause follows a failure", fetched.Load())
		}
		<-time.After(9 * time.Second)
		if _, err := tokens.get(t.Context()); err == nil {
			t.Error("got an expired token")
		}
		fail.Store(false)
		if got, err := tokens.get(t.Context()); got.generation != 2 || err != nil {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestATokenWithoutALifetimeIsUsedUntilItIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens, fetched, _ := countingTokens(0)
		defer tokens.close()
		tokens.get(t.Context())
		<-time.After(1000 * time.Hour)
		if got, _ := tokens.get(t.Context()); got.token != "t1" || fetched.Load() != 1 {
			t.Errorf("%q after %d token requests", got.token, fetched.Load())
		}
		if got, _ := tokens.renew(t.Context(), 1); got.token != "t2" {
			t.Errorf("%q", got.token)
		}
		// The older token was refused: return the current one.
		if got, _ := tokens.renew(t.Context(), 1); got.token != "t2" || fetched.Load() != 2 {
			t.Errorf("%q after %d token requests", got.token, fetched.Load())
		}
	})
}
