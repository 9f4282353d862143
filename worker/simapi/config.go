package simapi

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// Config describes a simulated API. The zero value answers every call with ok, at once.
type Config struct {
	// API is the API to simulate, one of APIs. Empty: DefaultAPI. What is said below of codes and envelopes is true of
	// DefaultAPI; the others refuse calls with answers of their own.
	API string

	// Seed picks the targets that a script's N% lines take, and the latencies. The same seed makes the same choices.
	Seed uint64

	// Now is the clock of windows, rates, tokens and the log. Defaults to time.Now. Waiting (latency, hang) always uses the
	// runtime's timers.
	Now func() time.Time

	// Sleep waits for latency and hangs in place of the runtime's timers, for a simulated clock. Nil: the timers.
	Sleep func(context.Context, time.Duration) error

	// Script is tried before the default answer. It is one for the same API. Nil: no script.
	Script *Script

	// Envelope is how answers are spelled. The zero value is the commonest spelling.
	Envelope Envelope

	// Latency is waited before every answer. Zero: none.
	Latency Latency

	Quota   Quota
	Rate    Rate
	Balance Balance

	// Token is the bearer token that calls must carry; others get 67200003 with HTTP status 401. Empty, with OAuth off
	// too: no credential is asked for.
	Token string

	// TokenUntil is when Token expires. Zero: never.
	TokenUntil time.Time

	OAuth OAuth

	// APIKey is what the query parameter apikey must be: 67200008 without it, 67200009 with another. Empty: not checked.
	APIKey string

	// Correlation makes the x-correlation-id of the n-th arrival Correlation-n, the same in every run. Empty: a random
	// prefix, so that ids are unique across Servers.
	Correlation string

	// HangCap ends every hang. Defaults to 10 minutes.
	HangCap time.Duration

	// LogCap is how many calls the log keeps; older ones are let go and counted in Stats.LogDropped. Defaults to 1,000,000.
	LogCap int

	// LogHeaders are request headers to log besides Idempotency-Key, Content-Type, Content-Encoding and Traceparent.
	// Headers that carry credentials are refused.
	LogHeaders []string
}

// Quota allows a number of calls in each window. A window opens with the first call after the last one ended. Off when
// Calls or Window is 0.
type Quota struct {
	Calls  int
	Window time.Duration

	// RetryAfter says in a Retry-After header when the window ends: whole seconds, rounded up.
	RetryAfter bool

	// Code of the refusal. Defaults to 67200001. "none" sends no envelope, only Status.
	Code string

	// Status is the refusal's HTTP status. Defaults to 200, or to 429 when Code is "none".
	Status int
}

// Rate is a hidden limit: a token bucket that starts full. Off when PerSecond is 0.
type Rate struct {
	PerSecond float64

	// Burst is the bucket's size. Defaults to PerSecond rounded up.
	Burst int

	// Code of the refusal. Defaults to 67200002. "none" sends no envelope, only HTTP status 429.
	Code string
}

// Balance is prepaid money; without enough of it calls get 67200005. Only calls whose work was done are charged. Off
// when PerCall is 0.
type Balance struct {
	Credit  float64
	PerCall float64
}

// OAuth issues tokens at POST /oauth/token for client credentials, by HTTP Basic or in the form. Off when ClientID is "".
type OAuth struct {
	ClientID     string
	ClientSecret string

	// Lifetime of a token. Defaults to 1799 s. The answer gives it in whole seconds, rounded up, as a string.
	Lifetime time.Duration

	// TokenField names the token in the answer. Defaults to "token".
	TokenField string

	// Nested puts the token and its lifetime under "data".
	Nested bool
}

// Latency is spread evenly between Min and Max. A Max under Min counts as Min.
type Latency struct {
	Min, Max time.Duration
}

// CodeForm is how an envelope writes error_code.
type CodeForm string

// The forms of error_code that the API has been seen to use.
const (
	CodeInt    CodeForm = "int"
	CodeFloat  CodeForm = "float"
	CodeString CodeForm = "string"
)

// StatusForm is how an envelope writes status.
type StatusForm string

// The forms of status that the API has been seen to use.
const (
	StatusBool   StatusForm = "bool"
	StatusString StatusForm = "string"
)

// Envelope is the spelling of answers.
type Envelope struct {
	// Message names the field of the message: error_msg (the default), error_message, msg or message.
	Message string `json:"message"`

	// Code defaults to CodeInt.
	Code CodeForm `json:"code"`

	// Status defaults to StatusBool.
	Status StatusForm `json:"status"`
}

const (
	defaultHangCap  = 10 * time.Minute
	defaultLogCap   = 1_000_000
	defaultLifetime = 1799 * time.Second
)

// Validate says what is wrong with a Config that came from outside. New panics with the same error.
func (c Config) Validate() error {
	if err := c.validateAPI(); err != nil {
		return fmt.Errorf("simapi: %w", err)
	}
	for _, h := range c.LogHeaders {
		switch h = http.CanonicalHeaderKey(h); h {
		case "Authorization", "Proxy-Authorization", "Cookie":
			return fmt.Errorf("simapi: LogHeaders: %s carries credentials, which are never logged; leave it out", h)
		}
	}
	switch {
	case c.HangCap < 0:
		return fmt.Errorf("simapi: HangCap %v is negative; 0 means %v", c.HangCap, defaultHangCap)
	case c.LogCap < 0:
		return fmt.Errorf("simapi: LogCap %d is negative; 0 means %d", c.LogCap, defaultLogCap)
	case c.OAuth.Lifetime < 0:
		return fmt.Errorf("simapi: OAuth.Lifetime %v is negative; 0 means %v", c.OAuth.Lifetime, defaultLifetime)
	case c.OAuth.ClientID == "" && c.OAuth.ClientSecret != "":
		return fmt.Errorf("simapi: OAuth.ClientSecret without a ClientID; set both")
	}
	for _, err := range []error{c.Envelope.validate(), c.Latency.validate(), c.Quota.validate(), c.Rate.validate(), c.Balance.validate()} {
		if err != nil {
			return fmt.Errorf("simapi: %w", err)
		}
	}
	return nil
}

// validateAPI refuses what the API does not have.
func (c Config) validateAPI() error {
	table, found := lookAPI(c.API)
	switch {
	case !found:
		return unknownAPI(c.API)
	case c.Script != nil && c.Script.api != orElse(c.API, DefaultAPI):
		return fmt.Errorf("the script is one for %s, the API is %s", c.Script.api, orElse(c.API, DefaultAPI))
	case table == nil:
		return nil
	case table.outOfCredit == "" && c.Balance.PerCall > 0:
		return fmt.Errorf("%s has no prepaid balance; leave it out", c.API)
	case c.APIKey != "":
		return fmt.Errorf("%s asks for no apikey; only %s does", c.API, DefaultAPI)
	case c.Envelope != Envelope{}:
		return fmt.Errorf("%s has no envelope; only %s has", c.API, DefaultAPI)
	case c.Quota.Code != "" || c.Quota.Status != 0 || c.Quota.RetryAfter || c.Rate.Code != "":
		return fmt.Errorf("%s refuses calls in its own way; only %s can be given a code, a status or Retry-After", c.API, DefaultAPI)
	case c.OAuth.TokenField != "" || c.OAuth.Nested:
		return fmt.Errorf("%s issues tokens in its own form; only %s can be given one", c.API, DefaultAPI)
	}
	return nil
}

func unknownAPI(name string) error {
	return fmt.Errorf("unknown API %q; want one of %s", name, strings.Join(APIs(), ", "))
}

func (e Envelope) validate() error {
	switch e.Message {
	case "", "error_msg", "error_message", "msg", "message":
	default:
		return fmt.Errorf("envelope message field %q; want error_msg, error_message, msg or message", e.Message)
	}
	switch e.Code {
	case "", CodeInt, CodeFloat, CodeString:
	default:
		return fmt.Errorf("envelope code form %q; want int, float or string", e.Code)
	}
	switch e.Status {
	case "", StatusBool, StatusString:
	default:
		return fmt.Errorf("envelope status form %q; want bool or string", e.Status)
	}
	return nil
}

func (l Latency) validate() error {
	if l.Min < 0 || l.Max < 0 {
		return fmt.Errorf("latency %v to %v is negative; 0 turns it off", l.Min, l.Max)
	}
	return nil
}

func (q Quota) validate() error {
	if q.Calls < 0 || q.Window < 0 {
		return fmt.Errorf("quota of %d calls in %v is negative; 0 turns it off", q.Calls, q.Window)
	}
	if q.Status != 0 && (q.Status < 200 || q.Status > 599) {
		return fmt.Errorf("quota status %d; want 200 to 599", q.Status)
	}
	return validateCode("quota", q.Code)
}

func (r Rate) validate() error {
	if !(r.PerSecond >= 0) || math.IsInf(r.PerSecond, 0) || r.Burst < 0 {
		return fmt.Errorf("rate of %v/s, burst %d; want finite numbers from 0 (which turns it off)", r.PerSecond, r.Burst)
	}
	return validateCode("rate", r.Code)
}

func (b Balance) validate() error {
	if !(b.Credit >= 0) || !(b.PerCall >= 0) || math.IsInf(b.Credit, 0) || math.IsInf(b.PerCall, 0) {
		return fmt.Errorf("balance of %v at %v a call; want finite numbers from 0", b.Credit, b.PerCall)
	}
	return nil
}

func validateCode(of, code string) error {
	if code != "" && code != "none" && !isCode(code) {
		return fmt.Errorf("%s code %q; want digits or none", of, code)
	}
	return nil
}
