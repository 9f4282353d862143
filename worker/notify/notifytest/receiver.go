// Package notifytest is a receiver of notifications for tests. It may change.
package notifytest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// Secret is a secret that receivers of tests can have.
const Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// patience is how long Await waits.
const patience = time.Minute

// Delivery is an event that a receiver has accepted.
type Delivery struct {
	// ID is the webhook-id, Header all headers, Body the bytes that arrived.
	ID     string
	Header http.Header
	Body   []byte
	// Type and Data are those of the body; empty in the format of Slack.
	Type string
	Data map[string]any
}

// Receiver is an HTTP server that verifies each request with an implementation of Standard
// Webhooks that is not callq's. It is closed at the end of the test.
type Receiver struct {
	// URL is its address. It has a path that tests can look for.
	URL string
	tb  testing.TB

	mu      sync.Mutex
	secret  string
	status  int
	header  http.Header
	hold    chan struct{}
	refused int
	got     []Delivery
	changed chan struct{}
}

// New starts a receiver that verifies signatures of the secret; none for "".
func New(tb testing.TB, secret string) *Receiver {
	tb.Helper()
	r := &Receiver{tb: tb, secret: secret, status: http.StatusNoContent, changed: make(chan struct{})}
	server := httptest.NewServer(r)
	r.URL = server.URL + "/hooks/t0p5ecretpath"
	tb.Cleanup(func() {
		r.Release()
		server.Close()
	})
	return r
}

// Answer sets the status of the next answers; with 0 the connection is closed without an
// answer. headers are pairs of name and value.
func (r *Receiver) Answer(status int, headers ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status, r.header = status, http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		r.header.Set(headers[i], headers[i+1])
	}
}

// Hold lets requests wait for their answer until Release.
func (r *Receiver) Hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.hold = make(chan struct{})
}

// Release ends Hold.
func (r *Receiver) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hold != nil {
		close(r.hold)
		r.hold = nil
	}
}

// Expect sets the secret of the next requests.
func (r *Receiver) Expect(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.secret = secret
}

// ServeHTTP receives one event.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return
	}
	r.mu.Lock()
	hold := r.hold
	r.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() {
		close(r.changed)
		r.changed = make(chan struct{})
	}()
	if r.status/100 != 2 {
		r.refused++
		if r.status == 0 {
			panic(http.ErrAbortHandler)
		}
		for name, values := range r.header {
			w.Header()[name] = values
		}
		w.WriteHeader(r.status)
		return
	}
	d := Delivery{ID: req.Header.Get("webhook-id"), Header: req.Header.Clone(), Body: body}
	if err := r.verify(&d); err != nil {
		r.tb.Errorf("a request does not verify: %v\n%v\n%s", err, req.Header, body)
	}
	r.got = append(r.got, d)
	w.WriteHeader(r.status)
}

// verify checks the signature and the form of a request. r.mu is held.
func (r *Receiver) verify(d *Delivery) error {
	var text struct{ Text string }
	if err := json.Unmarshal(d.Body, &text); err == nil && text.Text != "" && r.secret == "" {
		return nil
	}
	hook, err := standardwebhooks.NewWebhook(r.secret)
	if err != nil {
		return err
	}
	if err := hook.Verify(d.Body, d.Header); err != nil {
		return err
	}
	var m struct {
		Type      string
		Timestamp time.Time
		Data      map[string]any
	}
	if err := json.Unmarshal(d.Body, &m); err != nil || m.Timestamp.IsZero() {
		return fmt.Errorf("type, timestamp and data are expected: %w", err)
	}
	d.Type, d.Data = m.Type, m.Data
	return nil
}

// Refused returns how many requests were not accepted.
func (r *Receiver) Refused() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused
}

// Got returns the events that were accepted, each once, in the order of their arrival.
func (r *Receiver) Got() (events []Delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.distinct()
}

// All returns the events that were accepted, as often as they arrived.
func (r *Receiver) All() []Delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *Receiver) distinct() (events []Delivery) {
	seen := map[string]bool{}
	for _, d := range r.got {
		if !seen[d.ID] {
			seen[d.ID] = true
			events = append(events, d)
		}
	}
	return events
}

// Await waits until a condition holds for the events that were accepted, each once, and
// returns them.
func (r *Receiver) Await(what string, cond func(got []Delivery) bool) []Delivery {
	r.tb.Helper()
	var events []Delivery
	r.wait(what, func() bool {
		events = r.distinct()
		return cond(events)
	})
	return events
}

// AwaitRefused waits until n requests were not accepted.
func (r *Receiver) AwaitRefused(n int) {
	r.tb.Helper()
	r.wait(fmt.Sprintf("%d requests that are not accepted", n), func() bool { return r.refused >= n })
}

// wait waits until cond holds, which is called with r.mu held.
func (r *Receiver) wait(what string, cond func() bool) {
	r.tb.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		r.mu.Lock()
		done, changed := cond(), r.changed
		var types []string
		for _, d := range r.got {
			types = append(types, fmt.Sprint(d.Type, d.Data))
		}
		r.mu.Unlock()
		if done {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			r.tb.Fatalf("timed out waiting for %s; these events were accepted: %v", what, types)
		}
	}
}
