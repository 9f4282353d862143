package upstream

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

func TestNoTokenRequestIsSentBeforeRetryAfterHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, fault := 0, policy.TransportResetBeforeSend
		tok := newTokens(func(context.Context) (grant, *credentialError) {
			if asked++; asked == 1 {
				return grant{}, &credentialError{err: errors.New("busy"), outcome: policy.Outcome{
					Transport: fault, Header: http.Header{"Retry-After": {"60"}}, ReceivedAt: time.Now(),
				}}
			}
			return grant{token: "t"}, nil
		}, quietLog)
		defer tok.close()
		for _, after := range []time.Duration{0, 30 * time.Second, 29 * time.Second} {
			time.Sleep(after)
			if _, err := tok.get(t.Context()); err == nil || asked != 1 {
				t.Errorf("%s later: got %d token requests, error %v; want 1 request and an error", after, asked, err)
			}
		}
		time.Sleep(time.Second)
		if got, err := tok.get(t.Context()); err != nil || got.token != "t" || asked != 2 {
			t.Errorf("after the wait: got %d token requests, error %v; want 2 and no error", asked, err)
		}
	})
}

func TestTheRetryAfterOfATokenEndpointReachesThePolicy(t *testing.T) {
	for status, transport := range map[int]policy.Transport{
		503: policy.TransportResetBeforeSend, 500: policy.TransportResetBeforeSend, 429: policy.TransportNone, 401: policy.TransportNone,
	} {
		i := &issuer{answer: func(w http.ResponseWriter, _ int) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(status)
		}}
		c := i.start(t)
		for range 3 {
			a := c.Do(context.Background(), Request{Path: "/x"})
			wait, ok := policy.RetryAfter(a.Outcome.Header, a.Outcome.ReceivedAt)
			if a.Outcome.Transport != transport || !ok || wait != time.Hour || a.Outcome.ReceivedAt.IsZero() {
				t.Errorf("%d: got %+v and a wait of %s, want an hour", status, a.Outcome, wait)
			}
		}
		want := 3 // after a refusal a circuit holds the calls, not the client
		if transport != policy.TransportNone {
			want = 1
		}
		if i.asked() != want {
			t.Errorf("%d: got %d token requests, want %d", status, i.asked(), want)
		}
	}
}

func TestTheRetryAfterOfAnIncompleteAnswerReachesThePolicy(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Retry-After", "3600")
		w.Header().Set("Content-Length", "10")
		w.WriteHeader(http.StatusServiceUnavailable)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Timeout = 200 * time.Millisecond })
	a := c.Do(context.Background(), Request{Path: "/"})
	wait, ok := policy.RetryAfter(a.Outcome.Header, a.Outcome.ReceivedAt)
	if a.Outcome.Transport != policy.TransportTimeoutAfterSend || !ok || wait != time.Hour {
		t.Errorf("%+v, a wait of %s", a.Outcome, wait)
	}
}
