package simapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	tokenPath = "/oauth/token" // of every API, besides its own
	maxEcho   = 1 << 20        // bytes of a request's body that the default answer repeats
	hidden    = "***"
)

// visit is one call on its way through the Server.
type visit struct {
	seq      int64
	target   target
	answer   answer
	envelope Envelope
	latency  time.Duration
	amount   string // x-openapi-amount; "" when nothing was billed
	meter    meter

	key      string    // whose answer is kept
	replayOf int64     // the call that the answer was first for; 0: this one
	made     time.Time // that call's time
}

// ServeHTTP answers a call, or a request under /_sim/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/_sim/") {
		s.control.ServeHTTP(w, r)
		return
	}
	v := s.receive(r)
	gone := true // until an answer was sent
	var size int64
	var sum uint64
	defer func() { s.finish(v, size, sum, gone && r.Context().Err() != nil) }()

	if v.answer.kind == kindReset {
		if s.wait(r.Context(), v.latency) == nil {
			reset(w)
		}
		return
	}
	content, size, sum := readBody(r.Body)
	if v.answer.kind == kindToken {
		sum = 0 // the digest of a short secret can be guessed
	}
	if s.wait(r.Context(), v.latency) != nil {
		return
	}
	switch v.answer.kind {
	case kindHang:
		if s.hang(r.Context(), v.answer.hang) {
			reset(w)
		}
		return
	case kindResetAfter:
		reset(w)
		return
	}
	h := w.Header()
	h.Set("Date", s.now().UTC().Format(http.TimeFormat))
	if s.api == nil {
		h.Set("X-Correlation-Id", correlationID(s.prefix, v.seq))
	}
	switch {
	case v.answer.kind == kindToken:
		s.issueToken(w, r, v.seq, content)
	case s.api != nil:
		s.sendReply(w, v)
	default:
		s.sendEnvelope(w, r, v, content, size)
	}
	gone = false
}

// sendEnvelope answers as the default API does.
func (s *Server) sendEnvelope(w http.ResponseWriter, r *http.Request, v visit, content []byte, size int64) {
	if v.amount != "" {
		w.Header().Set("X-Openapi-Amount", v.amount)
	}
	var data []byte
	if v.answer.works() {
		data = s.echo(r, v.target, content, size)
	}
	v.answer.send(w, s.now(), v.answer.bodyOf(v.envelope, data))
}

// receive counts the arrival and chooses the answer, in one step, so that the order of arrivals is the order of decisions.
func (s *Server) receive(r *http.Request) visit {
	v := visit{target: targetOf(r)}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	acc := &s.account
	tokenCall := acc.issuesTokens(r)
	auth := AuthUnchecked
	if !tokenCall {
		auth = acc.auth(now, r)
	}
	v.seq = s.book.arrive(now, entry{
		method: strings.Clone(shorten(r.Method)), path: shorten(v.target.path), query: shorten(s.openQuery(v.target)),
		auth: auth, headers: pickHeaders(r.Header, s.logHeaders),
	})
	var admitted bool
	if !tokenCall {
		v.answer, admitted = acc.admit(now, r, auth)
	}
	v.meter = acc.meter()
	switch {
	case tokenCall:
		v.answer = s.choose(r, v.target)
		if v.answer.kind == kindOK {
			v.answer.kind = kindToken
		}
	case admitted && !s.kept.replay(s.api, &v, s.api.keyOf(r)):
		v.answer = s.choose(r, v.target)
		if s.api != nil {
			v.answer = s.api.filled(v.answer, r)
			s.kept.keep(&v, s.api.keyOf(r), now)
		}
	}
	if v.answer.works() && v.replayOf == 0 {
		s.book.stats.Worked++
		acc.charged++
		v.amount = "1"
		if acc.balance.PerCall > 0 {
			v.amount = strconv.FormatFloat(acc.balance.PerCall, 'f', -1, 64)
		}
	}
	if v.answer.kind != kindToken {
		s.book.answered(v.seq, v.answer)
	}
	v.envelope = s.envelope
	v.latency = v.answer.latency + s.latency.draw(fraction(scatter(s.seed, uint64(v.seq))))
	s.notify()
	return v
}

// choose returns the script's answer, or the default one. The mutex is held.
func (s *Server) choose(r *http.Request, t target) answer {
	if a, scripted := s.script.next(s.seed, r, t, s.progress); scripted {
		return a
	}
	return answer{kind: kindOK, label: string(kindOK)}
}

// draw picks a latency; dice is in [0, 1).
func (l Latency) draw(dice float64) time.Duration {
	return l.Min + time.Duration(dice*float64(max(0, l.Max-l.Min)))
}

func (s *Server) finish(v visit, size int64, sum uint64, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.book.stats.InFlight--
	s.kept.answered(v.key)
	if e := s.book.entry(v.seq); e != nil {
		e.done, e.gone = s.now().UnixNano(), gone
		e.bodyBytes, e.bodySum = size, sum
	}
	s.notify()
}

var errClosed = errors.New("simapi: closed")

// wait sleeps for d; it returns early when the client leaves (an error) or the Server closes (none).
func (s *Server) wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := s.sleep(ctx, d); err != nil && !errors.Is(err, errClosed) {
		return err
	}
	return nil
}

// hang sleeps for d, at most HangCap, and tells whether there still is a connection to break.
func (s *Server) hang(ctx context.Context, d time.Duration) bool {
	if d == 0 || d > s.hangCap {
		d = s.hangCap
	}
	err := s.sleep(ctx, d)
	return err == nil || errors.Is(err, errClosed)
}

func (s *Server) sleep(ctx context.Context, d time.Duration) error {
	if s.sleeper != nil {
		return s.sleeper(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.done:
		return errClosed
	}
}

// readBody reads a request's body to its end, which net/http needs to notice that a client leaves, and keeps the
// beginning.
func readBody(r io.Reader) (content []byte, size int64, sum uint64) {
	digest := sha256.New()
	var kept bytes.Buffer
	n, err := io.Copy(io.MultiWriter(&kept, digest), io.LimitReader(r, maxEcho))
	size = n
	if err == nil {
		n, _ = io.Copy(digest, r)
		size += n
	}
	if size == 0 {
		return nil, 0, 0
	}
	return kept.Bytes(), size, binary.BigEndian.Uint64(digest.Sum(nil))
}

// secretParams are query parameters whose values are credentials by their name.
var secretParams = []string{"apikey", "api_key", "access_token", "token", "client_secret", "password", "secret"}

// openQuery is a call's query as others may see it. The mutex is held.
func (s *Server) openQuery(t target) string {
	return s.open(t.query).Encode()
}

// open hides credentials, by their name and by their value.
func (s *Server) open(query url.Values) url.Values {
	acc := &s.account
	out := make(url.Values, len(query))
	for name, values := range query {
		if slices.Contains(secretParams, strings.ToLower(name)) {
			out[name] = []string{hidden}
			continue
		}
		values = slices.Clone(values)
		for i, v := range values {
			_, issued := acc.issued[v]
			if issued || v != "" && (v == acc.token || v == acc.apiKey || v == acc.oauth.ClientSecret) {
				values[i] = hidden
			}
		}
		out[name] = values
	}
	return out
}

// echo is the data of the default answer.
func (s *Server) echo(r *http.Request, t target, content []byte, size int64) []byte {
	s.mu.Lock()
	open := s.open(t.query)
	s.mu.Unlock()
	query := make(map[string]any, len(open))
	for name, values := range open {
		query[name] = values
		if len(values) == 1 {
			query[name] = values[0]
		}
	}
	data := struct {
		Method string         `json:"method"`
		Path   string         `json:"path"`
		Query  map[string]any `json:"query"`
		Body   any            `json:"body"`
	}{Method: r.Method, Path: r.URL.Path, Query: query}
	switch {
	case size > int64(len(content)):
		data.Body = map[string]any{"bytes": size}
	case size == 0:
	case json.Valid(content):
		data.Body = json.RawMessage(content)
	case utf8.Valid(content):
		data.Body = string(content)
	default:
		data.Body = map[string]any{"base64": base64.StdEncoding.EncodeToString(content), "content_type": r.Header.Get("Content-Type")}
	}
	return plainJSON(data)
}
