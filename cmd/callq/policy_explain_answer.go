package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker"
)

// of takes what flags do not say from a recorded call.
func (f *explainFlags) of(call *recordedCall) {
	if !f.given("method") {
		f.method = call.method
	}
	if !f.given("endpoint") {
		_, f.endpoint, _ = strings.Cut(call.endpoint, " ")
	}
	if !f.given("attempt") {
		f.attempt = call.attempt
	}
	if f.byPolicy && call.idempotent != nil {
		f.byPolicy, f.idempotent, f.idempotentBy = false, *call.idempotent, "the call says so"
	}
}

// idempotentBy reports whether calls of the endpoint are idempotent, by which pattern, and
// where it is written. What configured sets itself goes before what the policy says, as
// for a worker; nil is no configured upstream.
func idempotentBy(p *policy.Policy, configured *config.Upstream, endpoint string) (idempotent bool, by string) {
	u := p.Upstream()
	patterns, where := u.Idempotent, u.Where("idempotent")
	header, headerWhere := u.IdempotencyHeader, u.Where("idempotency_header")
	if patterns == nil {
		patterns, where = worker.DefaultIdempotent, "the default"
	}
	if c := configured; c != nil {
		if c.IdempotencyHeader != "" && !c.HasDefault("idempotency_header") {
			header, headerWhere = c.IdempotencyHeader, "upstreams."+c.Name
		}
		if !c.HasDefault("idempotent") && !slices.Equal(c.Idempotent, config.DefaultIdempotent()) {
			patterns, where = c.Idempotent, "upstreams."+c.Name
		}
	}
	if header != "" {
		return true, "idempotency_header " + header + ", " + headerWhere
	}
	method, path, _ := strings.Cut(endpoint, " ")
	for _, text := range patterns {
		if pattern, err := policy.ParsePattern(text); err == nil && pattern.Match(method, path) {
			return true, fmt.Sprintf("%q, %s", text, where)
		}
	}
	return false, "no pattern of " + where
}

// answerOf makes an answer of the flags.
func (a *app) answerOf(ctx context.Context, f explainFlags) (toExplain, error) {
	if f.attempt < 1 {
		return toExplain{}, usageError("--attempt %d is not possible; the first attempt is 1", f.attempt)
	}
	if f.curl != "" || f.call != "" {
		for _, flag := range []string{"status", "header", "body", "transport"} {
			if f.given(flag) {
				return toExplain{}, usageError("--curl and --call describe the whole answer; remove --%s", flag)
			}
		}
		switch {
		case f.curl != "" && f.call != "":
			return toExplain{}, usageError("give --curl or --call, not both")
		case f.curl != "":
			return a.fromCurl(f)
		default:
			return a.fromLedger(ctx, f)
		}
	}
	r, err := a.responseOf(f)
	return toExplain{Response: r}, err
}

// responseOf makes an answer of the flags that describe one.
func (a *app) responseOf(f explainFlags) (policy.Response, error) {
	if f.transport != "" {
		if f.status != 0 || f.body != "" || f.cut || len(f.headers) > 0 {
			return policy.Response{}, usageError("--transport says that no answer arrived; remove it, or remove --status, --header, --body and --cut")
		}
		if !slices.Contains(transports, f.transport) {
			return policy.Response{}, usageError("--transport %q is unknown; write one of %s", f.transport, strings.Join(transports, ", "))
		}
		return policy.Response{Transport: policy.Transport(f.transport)}, nil
	}
	if f.status == 0 {
		return policy.Response{}, usageError("there is nothing to explain; give --status with the answer's HTTP status, --transport if no answer arrived, or a recorded answer with --curl or --call")
	}
	if f.status < 100 || f.status > 599 {
		return policy.Response{}, usageError("--status %d is not an HTTP status; write a number from 100 to 599", f.status)
	}
	header := http.Header{}
	for _, line := range f.headers {
		key, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(key) == "" {
			return policy.Response{}, usageError("--header %q is not a header; write one as in 'Retry-After: 60'", line)
		}
		header.Add(strings.TrimSpace(key), strings.TrimSpace(value))
	}
	var body []byte
	if f.body != "" {
		var err error
		if body, err = a.readInput(f.body, maxExplained); err != nil {
			return policy.Response{}, err
		}
	}
	return policy.Response{Status: f.status, Header: header, Body: body, Cut: f.cut}, nil
}
