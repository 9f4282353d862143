package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/cmd/callq/internal/curloutput"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
)

// toExplain is an answer that a policy is asked about.
type toExplain struct {
	policy.Response
	// shown describes an answer that was recorded; empty for one that flags describe.
	shown string
	// call is the recorded call that was answered, nil if there is none.
	call *recordedCall
}

// recordedCall is what the ledger knows of a call's last answer.
type recordedCall struct {
	method, endpoint string
	attempt          int
	at               time.Time
	// idempotent is what the call itself says; nil if it says nothing.
	idempotent *bool
	// configured is the call's upstream in callq.yaml; nil if it is not there.
	configured *config.Upstream
	// code, message and correlationID were read when the answer came.
	code, message, correlationID string
	// unrecorded names the parts of the answer that the ledger does not have.
	unrecorded []string
	bodyLost   bool
}

// fromCurl reads what curl -i printed.
func (a *app) fromCurl(f explainFlags) (toExplain, error) {
	data, err := a.readInput(f.curl, maxExplained)
	if err != nil {
		return toExplain{}, err
	}
	answer, err := curloutput.Parse(data)
	if err != nil {
		return toExplain{}, usageError("--curl %s: %w", f.curl, err)
	}
	return toExplain{
		Response: policy.Response{Status: answer.Status, Header: answer.Header, Body: answer.Body, Cut: f.cut},
		shown: fmt.Sprintf("HTTP %d, %s, a body of %s", answer.Status, console.Plural(len(answer.Header), "header"),
			console.Plural(len(answer.Body), "byte")),
	}, nil
}

// fromLedger reads the last answer of a call.
func (a *app) fromLedger(ctx context.Context, f explainFlags) (answer toExplain, err error) {
	d, err := a.backend(ctx, "policy")
	if err != nil {
		return toExplain{}, err
	}
	defer d.close(&err)
	info, err := a.find(ctx, d, f.call)
	if err != nil {
		return toExplain{}, err
	}
	answer = recordedAnswer(info)
	for _, u := range d.cfg.Upstreams {
		if u.Name == info.Result.Upstream {
			answer.call.configured = u
		}
	}
	if answer.Status == 0 && answer.Transport == policy.TransportNone {
		return toExplain{}, fmt.Errorf("no answer of call %s is recorded; %s shows what is", f.call, a.next("dead show "+f.call))
	}
	answer.Cut = answer.Cut || f.cut
	return answer, nil
}

// recordedAnswer is the last answer that the ledger has of a call. Of a call that is open
// it has only the attempts.
func recordedAnswer(info tasks.CallInfo) toExplain {
	r := info.Result
	call := &recordedCall{
		method: r.Method, endpoint: info.Endpoint, attempt: max(r.Attempts, 1), at: r.FinishedAt,
		code: string(r.ErrorCode), message: r.ErrorMessage, correlationID: r.CorrelationID,
	}
	if call.endpoint == "" {
		path, _, _ := strings.Cut(r.Path, "?")
		call.endpoint = r.Method + " " + path
	}
	if info.Call != nil {
		call.idempotent = info.Call.Idempotent
	}
	answer := toExplain{Response: policy.Response{Status: r.HTTPStatus, Transport: policy.Transport(info.Transport)}, call: call}
	if n := len(info.Attempts); n > 0 {
		last := info.Attempts[n-1]
		call.at = last.At.Add(last.Latency)
		if r.State == tasks.StateOpen {
			call.attempt = max(last.Number, 1)
			call.code, call.message, call.correlationID = last.ErrorCode, last.Message, last.CorrelationID
			answer.Status, answer.Transport = last.HTTPStatus, policy.Transport(last.Transport)
		}
	}
	if answer.Transport != policy.TransportNone {
		answer.Status = 0
		answer.shown = string(answer.Transport) + ", " + call.String()
		return answer
	}
	answer.shown = fmt.Sprintf("HTTP %d, %s", answer.Status, call)
	answer.Header = http.Header{}
	for name, value := range r.Headers {
		answer.Header.Set(name, value)
	}
	answer.readBody(r)
	call.noteHeaders(r.Headers)
	return answer
}

// readBody sets the body as the ledger has it.
func (t *toExplain) readBody(r tasks.Result) {
	body, contentType, encoded := bodyOf(r.Body)
	t.Body, t.Cut = body, encoded
	if contentType != "" {
		t.Header.Set("Content-Type", contentType)
	}
	switch {
	case r.State == tasks.StateOpen:
		t.call.bodyLost = true
		t.call.unrecorded = append(t.call.unrecorded, "the body: the ledger has it once the call has ended")
	case r.BodyFreed:
		t.call.bodyLost = true
		t.call.unrecorded = append(t.call.unrecorded, "the body: it was freed from Redis when it was exported")
	}
}

func (c *recordedCall) noteHeaders(kept map[string]string) {
	if len(kept) == 0 {
		c.unrecorded = append(c.unrecorded, "headers: keep_headers of the upstream says which are kept")
		return
	}
	c.unrecorded = append(c.unrecorded, "headers other than "+strings.Join(slices.Sorted(maps.Keys(kept)), ", "))
}

func (c *recordedCall) String() string {
	return "attempt " + strconv.Itoa(c.attempt) + " of " + c.endpoint + ", at " + c.at.UTC().Format(time.RFC3339)
}

// complete puts what was read when the answer came in the place of what cannot be read
// again.
func (c *recordedCall) complete(o *policy.Outcome, readings []policy.Reading) {
	const ledger = "the ledger"
	put := func(into *string, what, value string) {
		if *into != "" || value == "" {
			return
		}
		*into = value
		for i := range readings {
			if readings[i].What == what {
				readings[i].Place, readings[i].Value = ledger, value
			}
		}
	}
	put(&o.CorrelationID, policy.ReadingCorrelationID, c.correlationID)
	if c.bodyLost {
		put(&o.Code, policy.ReadingCode, c.code)
		put(&o.Message, policy.ReadingMessage, c.message)
		o.Body = policy.BodyEnvelope
	}
}

// bodyOf returns the bytes of a result's body. encoded reports that its content coding
// could not be undone.
func bodyOf(raw json.RawMessage) (body []byte, contentType string, encoded bool) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, "", false
	}
	switch raw[0] {
	case '"':
		var text string
		if err := json.Unmarshal(raw, &text); err == nil {
			return []byte(text), "", false
		}
	case '{':
		var bytes struct {
			Base64   *string `json:"base64"`
			Type     *string `json:"content_type"`
			Encoding string  `json:"content_encoding"`
		}
		if err := json.Unmarshal(raw, &bytes); err != nil || bytes.Base64 == nil || bytes.Type == nil {
			break
		}
		if data, err := base64.StdEncoding.DecodeString(*bytes.Base64); err == nil {
			return data, *bytes.Type, bytes.Encoding != ""
		}
	}
	return raw, "", false
}
