package policy

import (
	"net/http"
	"time"
)

// Transport names how an attempt ended without an answer that could be read.
// The zero value means that an answer arrived.
type Transport string

// The ways in which an attempt ends without an answer. The suffixes BeforeSend and
// AfterSend say whether the request can have had an effect: before means that no byte
// of it was sent, after means that the server may have acted on it.
const (
	TransportNone              Transport = ""
	TransportDNS               Transport = "dns"
	TransportDial              Transport = "dial"
	TransportTLS               Transport = "tls"
	TransportRedirect          Transport = "redirect"
	TransportTooLarge          Transport = "too_large"
	TransportResetBeforeSend   Transport = "reset_before_send"
	TransportResetAfterSend    Transport = "reset_after_send"
	TransportTimeoutBeforeSend Transport = "timeout_before_send"
	TransportTimeoutAfterSend  Transport = "timeout_after_send"
)

// Body is the kind of an answer's body.
type Body string

// The kinds of body. Envelope is a JSON object with a status field; Malformed
// is any other JSON or text where an envelope was expected; Cut is a body that
// ended before its declared length.
const (
	BodyNone      Body = ""
	BodyEnvelope  Body = "envelope"
	BodyHTML      Body = "html"
	BodyEmpty     Body = "empty"
	BodyMalformed Body = "malformed"
	BodyCut       Body = "cut"
)

// Flag is the status field of an API's envelope.
type Flag string

// The values of a Flag. The zero value reads as FlagAbsent.
const (
	FlagTrue   Flag = "true"
	FlagFalse  Flag = "false"
	FlagAbsent Flag = "absent"
)

// Outcome is everything that a policy can know of how an attempt ended. The zero value
// is an answer without a status, which every policy classifies as unknown.
type Outcome struct {
	// Transport is set if no answer could be read. Then the fields that describe an
	// answer are zero, except Header, which may say when to call again.
	Transport Transport
	// Status is the HTTP status of the final answer.
	Status int
	// Header is the answer's header. Decide does not change it.
	Header http.Header
	// Body is the kind of the body.
	Body Body
	// Flag is the status field of the envelope.
	Flag Flag
	// Code is the API's error code: a word as the API wrote it ("insufficient_quota"),
	// or a number in canonical decimal form, without leading zeros, fraction or exponent
	// where the number has none ("67200001"). Empty and "0" both mean none.
	Code string
	// Message is the API's own error message, for logs and records only.
	Message string
	// CorrelationID is what the API's support asks for.
	CorrelationID string
	// Found is what the body says at the places that the policy's rules and waits name, by
	// their text. [Policy.ReadAnswer] fills it in. Decide only reads it.
	Found map[string][]string
	// ReceivedAt is when the answer arrived, by the worker's clock. Hold ends
	// that the server gave as a delay count from it.
	ReceivedAt time.Time
}

// Attempt is what a policy can know of the call that was attempted.
type Attempt struct {
	// Method is the HTTP method, in upper case.
	Method string
	// Endpoint is the folded endpoint, "METHOD /path/*".
	Endpoint string
	// Idempotent reports that sending the call again cannot do harm.
	Idempotent bool
	// Conditional reports that the request carried a precondition, such as
	// If-None-Match (RFC 9110, 13.1). A 304 then means that nothing has changed.
	Conditional bool
	// N is the number of attempts since the call was sent or last redriven, including
	// this one. Attempts that were parked do not count. A value below 1 means 1.
	N int
	// Age is the time since the first send, less the time that the call was held.
	Age time.Duration
	// CanRefresh reports that the credential can be renewed and that this call has
	// not yet been refused with a renewed one.
	CanRefresh bool
}
