package simapi

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Server is a simulated API. All its methods may be called at any time from any goroutine.
type Server struct {
	api        *api // nil: the default one
	seed       uint64
	now        func() time.Time
	prefix     string // of correlation ids
	hangCap    time.Duration
	logHeaders []string
	control    http.Handler
	done       chan struct{} // closed by Close
	closing    sync.Once

	mu       sync.Mutex // guards what follows
	script   *Script
	progress map[progressKey]int
	account  account
	kept     keptAnswers
	envelope Envelope
	latency  Latency
	sleeper  func(context.Context, time.Duration) error
	book     book
	changed  chan struct{} // closed at the next change; nil while nobody waits
}

// New makes a Server. It panics if Config.Validate has an error to tell.
func New(c Config) *Server {
	if err := c.Validate(); err != nil {
		panic(err)
	}
	table, _ := lookAPI(c.API)
	s := &Server{
		api: table, seed: c.Seed, now: c.Now, sleeper: c.Sleep, prefix: c.Correlation, hangCap: c.HangCap,
		logHeaders: loggedHeaders,
		done:       make(chan struct{}),
		script:     c.Script,
		progress:   map[progressKey]int{},
		account: account{
			api:   table,
			quota: c.Quota, rate: c.Rate, balance: c.Balance, oauth: c.OAuth,
			token: c.Token, tokenUntil: c.TokenUntil, apiKey: c.APIKey, issued: map[string]time.Time{},
		},
		envelope: c.Envelope,
		latency:  c.Latency,
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.prefix == "" {
		s.prefix = strings.ToLower(rand.Text()[:10])
	}
	if s.hangCap == 0 {
		s.hangCap = defaultHangCap
	}
	limit := c.LogCap
	if limit == 0 {
		limit = defaultLogCap
	}
	for _, h := range c.LogHeaders {
		s.logHeaders = append(s.logHeaders[:len(s.logHeaders):len(s.logHeaders)], http.CanonicalHeaderKey(h))
	}
	s.book = newBook(limit, 0)
	s.control = s.controlHandler()
	return s
}

// Close ends the calls that hang or wait for their latency; later ones do not wait at all. Call it before closing the
// http.Server or httptest.Server around it, which wait for their calls.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.done) })
	return nil
}

// Script replaces the script by this text; every call target starts anew. On an error, a *ParseError, the old one stays.
func (s *Server) Script(text string) error {
	name := DefaultAPI
	if s.api != nil {
		name = s.api.name
	}
	script, err := ParseScriptFor(name, text)
	if err != nil {
		return fmt.Errorf("simapi: script: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
	clear(s.progress)
	return nil
}

// Reset forgets what was seen (counts, log) and spent (script progress, quota, rate, balance, answers kept by key). Script, settings and issued
// tokens stay.
func (s *Server) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.progress)
	s.account.forget()
	s.kept = keptAnswers{}
	s.book.reset()
	s.notify()
}

// SetQuota replaces the quota and opens a new window. It panics on a quota that Config.Validate would refuse; so do the
// setters below.
func (s *Server) SetQuota(q Quota) {
	s.set(q.validate(), func() { s.account.quota, s.account.windowEnd, s.account.used = q, time.Time{}, 0 })
}

// SetRate replaces the hidden rate; its bucket starts full.
func (s *Server) SetRate(r Rate) {
	s.set(r.validate(), func() { s.account.rate, s.account.filled = r, time.Time{} })
}

// SetBalance replaces the balance; nothing of it is spent yet.
func (s *Server) SetBalance(b Balance) {
	s.set(b.validate(), func() { s.account.balance, s.account.charged = b, 0 })
}

// SetLatency replaces the latency, for calls that arrive from now on.
func (s *Server) SetLatency(l Latency) {
	s.set(l.validate(), func() { s.latency = l })
}

// SetEnvelope replaces the spelling of answers.
func (s *Server) SetEnvelope(e Envelope) {
	s.set(e.validate(), func() { s.envelope = e })
}

// SetToken replaces the bearer token; a zero until means that it never expires. An empty token asks for none.
func (s *Server) SetToken(token string, until time.Time) {
	s.set(nil, func() { s.account.token, s.account.tokenUntil = token, until })
}

// ExpireTokens ends every issued token, and the configured one until SetToken.
func (s *Server) ExpireTokens() {
	s.set(nil, func() { s.account.expireTokens(s.now()) })
}

func (s *Server) set(invalid error, change func()) {
	if invalid != nil {
		panic(fmt.Errorf("simapi: %w", invalid))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// Stats returns what was seen so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats()
}

func (s *Server) stats() Stats {
	st := s.book.snapshot()
	st.Charged = float64(s.account.charged) * s.account.balance.PerCall
	return st
}

// Calls returns the logged calls in the order of their arrival.
func (s *Server) Calls() []Call {
	s.mu.Lock()
	entries := s.book.after(0, s.book.cap)
	s.mu.Unlock()
	calls := make([]Call, len(entries))
	for i, e := range entries {
		calls[i] = e.call(s.prefix)
	}
	return calls
}

// ArrivalsSince counts the logged calls that arrived at t or later.
func (s *Server) ArrivalsSince(t time.Time) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.book.since(t)
}

// WaitFor returns nil as soon as cond holds. It asks at once and after every change: an arrival, an answer chosen, a call
// ended, a reset. When ctx ends first, its cause is wrapped in the error.
func (s *Server) WaitFor(ctx context.Context, cond func(Stats) bool) error {
	for {
		s.mu.Lock()
		st := s.stats()
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		if cond(st) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("simapi: waited in vain; %d arrivals, answers %v: %w", st.Arrivals, st.ByAnswer, context.Cause(ctx))
		}
	}
}

// notify wakes who waits. The mutex is held.
func (s *Server) notify() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}
