package simapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// controlHandler serves /_sim/. Other sites' pages in a browser on the same machine are kept out.
func (s *Server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_sim/stats", s.serveStats)
	mux.HandleFunc("GET /_sim/calls", s.serveCalls)
	mux.HandleFunc("POST /_sim/script", posted(s.Script))
	mux.HandleFunc("POST /_sim/config", posted(s.configure))
	mux.HandleFunc("POST /_sim/expire", posted(func(string) error { s.ExpireTokens(); return nil }))
	mux.HandleFunc("POST /_sim/reset", posted(func(string) error { s.Reset(); return nil }))
	return http.NewCrossOriginProtection().Handler(mux)
}

// posted hands a request's body to do: 204, or 400 with the error's text.
func posted(do func(text string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxScript))
		if err == nil {
			err = do(string(text))
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *Server) serveStats(w http.ResponseWriter, r *http.Request) {
	out := struct {
		Stats
		Since *int `json:"since_arrivals,omitempty"`
	}{Stats: s.Stats()}
	if text := r.URL.Query().Get("since"); text != "" {
		t, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			http.Error(w, fmt.Sprintf("since=%q is no RFC 3339 time, such as 2026-01-31T08:00:00Z", text), http.StatusBadRequest)
			return
		}
		n := s.ArrivalsSince(t)
		out.Since = &n
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(plainJSON(out), '\n'))
}

func (s *Server) serveCalls(w http.ResponseWriter, r *http.Request) {
	var since int64
	if text := r.URL.Query().Get("since"); text != "" {
		var err error
		if since, err = strconv.ParseInt(text, 10, 64); err != nil || since < 0 {
			http.Error(w, fmt.Sprintf("since=%q is no sequence number; want 0 or more", text), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	// In portions: the log may be large, and calls go on arriving.
	for {
		s.mu.Lock()
		part := s.book.after(since, 1000)
		s.mu.Unlock()
		if len(part) == 0 {
			return
		}
		for _, e := range part {
			if _, err := w.Write(append(plainJSON(e.call(s.prefix)), '\n')); err != nil {
				return
			}
		}
		since = part[len(part)-1].seq
	}
}

// settings is the body of POST /_sim/config; what is nil stays as it is.
type settings struct {
	Quota *struct {
		Calls      int    `json:"calls"`
		Window     period `json:"window"`
		RetryAfter bool   `json:"retry_after"`
		Code       string `json:"code"`
		Status     int    `json:"status"`
	} `json:"quota"`
	Rate *struct {
		PerSecond float64 `json:"per_second"`
		Burst     int     `json:"burst"`
		Code      string  `json:"code"`
	} `json:"rate"`
	Balance *struct {
		Credit  float64 `json:"credit"`
		PerCall float64 `json:"per_call"`
	} `json:"balance"`
	Latency *struct {
		Min period `json:"min"`
		Max period `json:"max"`
	} `json:"latency"`
	Token *struct {
		Value string    `json:"value"`
		Until time.Time `json:"until"`
	} `json:"token"`
	Envelope *Envelope `json:"envelope"`
}

// period is a duration written as Go writes it, such as "1.5s".
type period time.Duration

// UnmarshalJSON reads a string that time.ParseDuration takes.
func (p *period) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return fmt.Errorf("%s is no duration; want a string such as \"2s\"", clip(string(b)))
	}
	d, err := time.ParseDuration(text)
	*p = period(d)
	return err
}

// configure changes all that the JSON names, or nothing.
func (s *Server) configure(text string) error {
	var in settings
	dec := json.NewDecoder(bytes.NewReader([]byte(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return fmt.Errorf("simapi: config: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("simapi: config: more than one JSON value; send one object")
	}
	var changes []func()
	var problems []error
	if q := in.Quota; q != nil {
		quota := Quota{Calls: q.Calls, Window: time.Duration(q.Window), RetryAfter: q.RetryAfter, Code: q.Code, Status: q.Status}
		problems = append(problems, quota.validate())
		changes = append(changes, func() { s.SetQuota(quota) })
	}
	if r := in.Rate; r != nil {
		rate := Rate{PerSecond: r.PerSecond, Burst: r.Burst, Code: r.Code}
		problems = append(problems, rate.validate())
		changes = append(changes, func() { s.SetRate(rate) })
	}
	if b := in.Balance; b != nil {
		balance := Balance{Credit: b.Credit, PerCall: b.PerCall}
		problems = append(problems, balance.validate())
		changes = append(changes, func() { s.SetBalance(balance) })
	}
	if l := in.Latency; l != nil {
		latency := Latency{Min: time.Duration(l.Min), Max: time.Duration(l.Max)}
		problems = append(problems, latency.validate())
		changes = append(changes, func() { s.SetLatency(latency) })
	}
	if t := in.Token; t != nil {
		changes = append(changes, func() { s.SetToken(t.Value, t.Until) })
	}
	if e := in.Envelope; e != nil {
		problems = append(problems, e.validate())
		changes = append(changes, func() { s.SetEnvelope(*e) })
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("simapi: config: %w", err)
	}
	for _, change := range changes {
		change()
	}
	return nil
}
