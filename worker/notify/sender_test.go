package notify

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
	"github.com/seed-2903acc3/callq/worker/redact"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// senderTo returns a sender to a URL, and a message for it.
func senderTo(t *testing.T, url string, format Format) (*Sender, Message) {
	t.Helper()
	r := Receiver{Name: "ops", URL: upstream.StaticSecret(url), Secret: upstream.StaticSecret(notifytest.Secret), Types: Types, Format: format}
	if format == FormatSlack {
		r.Secret = upstream.Secret{}
	}
	s, err := NewSender(r, &redact.Redactor{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	m, err := MessageOf(examples[0].event)
	if err != nil {
		t.Fatal(err)
	}
	m.ID = idOf("test")
	return s, m
}

// failureOf returns the failure that an error is.
func failureOf(t *testing.T, err error) *policy.Failure {
	t.Helper()
	var f *policy.Failure
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a failure", err)
	}
	return f
}

func TestEachAttemptHasTheSameIDAndItsOwnTime(t *testing.T) {
	r := notifytest.New(t, notifytest.Secret)
	s, m := senderTo(t, r.URL, FormatJSON)
	start := time.Now()
	times := map[string]bool{}
	for i := range 3 {
		s.now = func() time.Time { return start.Add(time.Duration(i) * time.Second) }
		if err := s.Send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := r.Got() // each id once
	if len(got) != 1 || got[0].ID != m.ID || got[0].Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %+v", got)
	}
	for _, d := range r.All() {
		times[d.Header.Get("webhook-timestamp")] = true
	}
	if len(times) != 3 {
		t.Errorf("the times are %v, want three", times)
	}
}

func TestTheAnswerOfAReceiverDecides(t *testing.T) {
	p, err := Policy()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name    string
		status  int
		headers []string
		action  policy.Action
		effect  policy.Effect
		wait    time.Duration
	}{
		{name: "ok", status: 200, action: policy.ActionSucceed, effect: policy.EffectNone},
		{name: "accepted", status: 202, action: policy.ActionSucceed, effect: policy.EffectNone},
		{name: "moved", status: 301, headers: []string{"Location", "https://else.example/"}, action: policy.ActionDeadLetter, effect: policy.EffectOpen},
		{name: "bad", status: 400, action: policy.ActionDeadLetter, effect: policy.EffectOpen},
		{name: "forbidden", status: 403, action: policy.ActionDeadLetter, effect: policy.EffectOpen},
		{name: "gone", status: 410, action: policy.ActionDeadLetter, effect: policy.EffectOpen},
		{name: "slow down", status: 429, headers: []string{"Retry-After", "30"}, action: policy.ActionPark, effect: policy.EffectOpen, wait: 30 * time.Second},
		{name: "error", status: 500, action: policy.ActionRetry, effect: policy.EffectNone},
		{name: "maintenance", status: 503, headers: []string{"Retry-After", "7"}, action: policy.ActionRetry, effect: policy.EffectNone, wait: 7 * time.Second},
		{name: "no answer", status: 0, action: policy.ActionRetry, effect: policy.EffectNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := notifytest.New(t, notifytest.Secret)
			s, m := senderTo(t, r.URL, FormatJSON)
			r.Answer(c.status, c.headers...)
			err := s.Send(t.Context(), m)
			if c.action == policy.ActionSucceed {
				if err != nil {
					t.Error(err)
				}
				return
			}
			f := failureOf(t, err)
			d := p.Decide(f.Outcome(time.Now()), policy.Attempt{N: 1, Idempotent: true})
			if d.Action != c.action || d.Circuit.Effect != c.effect || f.RetryAfter != c.wait {
				t.Errorf("%v: got %s, %s and a wait of %s; want %s, %s and %s", f, d.Action, d.Circuit.Effect, f.RetryAfter, c.action, c.effect, c.wait)
			}
			if c.action == policy.ActionDeadLetter && d.Advice == "" {
				t.Error("there is no advice")
			}
			if strings.Contains(f.Error(), "t0p5ecret") {
				t.Errorf("the error shows the address: %v", f)
			}
		})
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	r := notifytest.New(t, notifytest.Secret)
	s, m := senderTo(t, r.URL, FormatJSON)
	r.Answer(307, "Location", other.URL)
	if f := failureOf(t, s.Send(t.Context(), m)); f.Status != 307 || reached {
		t.Errorf("got %v; the other address was reached: %t", f, reached)
	}
}

func TestAnAddressThatCannotBeReachedIsNotInTheError(t *testing.T) {
	for _, url := range []string{"http://127.0.0.1:1/t0p5ecret", "http://nowhere.invalid/t0p5ecret"} {
		s, m := senderTo(t, url, FormatJSON)
		f := failureOf(t, s.Send(t.Context(), m))
		if f.MaybeSent || f.Status != 0 || strings.Contains(f.Error(), "t0p5ecret") {
			t.Errorf("got %v, which may have been sent: %t", f, f.MaybeSent)
		}
	}
}

func TestAReceiverThatDoesNotAnswerEndsWithTheContext(t *testing.T) {
	r := notifytest.New(t, notifytest.Secret)
	s, m := senderTo(t, r.URL, FormatJSON)
	r.Hold()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if f := failureOf(t, s.Send(ctx, m)); !f.MaybeSent {
		t.Errorf("got %v, which may have been sent", f)
	}
}

func TestAnErrorOfSlackIsTheCode(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "channel_is_archived", http.StatusGone)
	}))
	defer server.Close()
	s, m := senderTo(t, server.URL, FormatSlack)
	if f := failureOf(t, s.Send(t.Context(), m)); f.Status != 410 || f.Code != "channel_is_archived" {
		t.Errorf("got %v", f)
	}
}
