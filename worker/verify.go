package worker

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/metrics"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Verify says how to find out at the API whether a call took effect. It is used for calls
// that may have been sent without an answer and must not be sent twice; without it they
// end as outcome_unknown.
type Verify struct {
	// Method is GET or HEAD. Defaults to GET.
	Method string
	// Path is the path of the request, perhaps with a query, in which {key}, {id} and
	// {batch} stand for those of the call: "/orders?ref={key}".
	Path string
	// After is how long after a first answer that the call took no effect the API is asked
	// once more, before that is believed. Defaults to 5 s.
	After time.Duration
	// Found and Absent are how the API answers if the call took effect and if it did not.
	// Any other answer is neither.
	Found, Absent policy.Match
}

const (
	// DefaultVerifyAfter is how long after the first answer the API is asked again.
	DefaultVerifyAfter = 5 * time.Second
	// maxAsked is how often the API is asked about one call before a person has to.
	maxAsked = 10
	// actionVerify is the action of an attempt whose effect is not known yet.
	actionVerify = metrics.ActionVerify
	// ruleVerify names what verify decides in records, where a policy's rule would stand.
	ruleVerify = "verify"
)

// withDefaults returns the complete v.
func (v Verify) withDefaults() Verify {
	if v.Method == "" {
		v.Method = http.MethodGet
	}
	if v.After == 0 {
		v.After = DefaultVerifyAfter
	}
	return v
}

// Validate returns what is wrong with v; zero fields that have a default are allowed.
func (v Verify) Validate() error {
	v = v.withDefaults()
	switch {
	case v.Method != http.MethodGet && v.Method != http.MethodHead:
		return fmt.Errorf("method is %q; write GET or HEAD: it must not change anything", v.Method)
	case !strings.HasPrefix(v.Path, "/"):
		return fmt.Errorf("path is %q; it must begin with /", v.Path)
	case !strings.Contains(v.Path, "{key}") && !strings.Contains(v.Path, "{id}"):
		return fmt.Errorf("path %q has neither {key} nor {id}: it would ask the same for every call", v.Path)
	case v.After < 0:
		return fmt.Errorf("after is %s; it must not be negative", v.After)
	case v.Found.IsZero() || v.Absent.IsZero():
		return fmt.Errorf("needs both found and absent")
	}
	_, _, err := v.target(&ledger.Record{ID: "id", Key: "key", Batch: "batch"})
	return err
}

// target returns the path and the query of the request about a call.
func (v Verify) target(r *ledger.Record) (path, query string, err error) {
	path, query, _ = strings.Cut(v.Path, "?")
	fill := func(text string, escape func(string) string) string {
		return strings.NewReplacer("{key}", escape(r.Key), "{id}", escape(r.ID), "{batch}", escape(r.Batch)).Replace(text)
	}
	c := tasks.Call{Method: v.Method, Path: fill(path, url.PathEscape)}
	if path, err = c.URLPath(); err != nil {
		return "", "", fmt.Errorf("path %q: %w", v.Path, err)
	}
	return path, fill(query, url.QueryEscape), nil
}

// asked is the call whose effect a request asks for.
type asked struct {
	call     tasks.Call
	endpoint string
}

// verifying reports whether the request asks for the effect of the call.
func (inflight *inflightCall) verifying() bool { return inflight.asks != nil }

// canVerify reports whether the API can be asked for the effect of the call.
func (inflight *inflightCall) canVerify() bool {
	return inflight.account.verify != nil && !inflight.idempotent && inflight.call.Method != tasks.MethodJob
}

// ask replaces the call's request by the one that asks for its effect.
func (inflight *inflightCall) ask() error {
	v := inflight.account.verify
	path, query, err := v.target(&inflight.delivery.Record)
	if err != nil {
		return err
	}
	inflight.asks = &asked{call: inflight.call, endpoint: inflight.endpoint}
	inflight.delivery.Verifying = true
	inflight.request = upstream.Request{Method: v.Method, Path: path, RawQuery: query}
	inflight.call.Method, inflight.idempotent = v.Method, true
	inflight.endpoint = inflight.account.endpoints.endpoint(v.Method, path)
	return nil
}

// verifyLater records that the call may have taken effect. The API is asked when its task
// comes back.
func (w *Worker) verifyLater(ctx context.Context, inflight *inflightCall, entry *ledger.Attempt, text string) disposition {
	if entry != nil {
		overrule(entry, actionVerify)
	}
	inflight.delivery.Verifying = true
	if _, applied := w.retryRecord(ctx, w.dispatcher.Attempt, inflight.delivery, entry); !applied {
		return w.abandon(inflight.delivery)
	}
	return disposition{kind: dispositionRetry, delay: time.Second, failed: true, text: "may have been sent, asks the API: " + text}
}

// applyVerification carries out what the API answered about the effect of a call. The
// circuits get the answer as that of any other request.
func (w *Worker) applyVerification(ctx context.Context, inflight *inflightCall, a attempted) disposition {
	ctx = context.WithoutCancel(ctx) // the answer has arrived
	c := w.report(ctx, inflight, a)
	a.decision = c.overrule(a.decision)
	v, delivery := inflight.account.verify, inflight.delivery
	about := policy.Attempt{Method: inflight.call.Method, Endpoint: inflight.endpoint, Idempotent: true, N: 1}
	body := a.Body
	if a.Large.Size() > 0 {
		body, _ = a.Large.Bytes(0) // a body that cannot be read has no places
	}
	inflight.call, inflight.endpoint = inflight.asks.call, inflight.asks.endpoint
	a.number, delivery.VerifyAsked = delivery.Attempts, delivery.VerifyAsked+1
	entry := lineOf(a, actionVerify, policy.Decision{Class: a.decision.Class, Rule: ruleVerify})
	w.metrics.Attempt(inflight.account.name, a.decision.Class, actionVerify, a.Latency)
	switch {
	case v.Found.Fits(a.Outcome, body, about):
		a.verified = true
		return w.end(ctx, inflight, a, policy.Decision{Rule: ruleVerify, Class: policy.ClassOK, Action: policy.ActionSucceed}, entry)
	case v.Absent.Fits(a.Outcome, body, about):
		if delivery.VerifyAbsent++; delivery.VerifyAbsent < 2 {
			return w.askAgain(ctx, inflight, entry, v.After, "no effect found, asks once more")
		}
		return w.sendAgain(ctx, inflight, a, entry)
	case a.decision.Action == policy.ActionPark && c.open && a.decision.Circuit.Scope == policy.ScopeAccount:
		delivery.VerifyAsked--
		return w.putBack(ctx, delivery, entry)
	case a.decision.Action == policy.ActionPark:
		delivery.VerifyAsked--
		return w.askAgain(ctx, inflight, entry, max(c.wait, time.Second), "waits to ask the API: "+faultText(a))
	case a.decision.Action == policy.ActionRetry && delivery.VerifyAsked < maxAsked:
		return w.askAgain(ctx, inflight, entry, w.retryDelay(inflight, a), "could not ask the API: "+faultText(a))
	}
	a.Outcome.Message = "it may have been sent, and the API does not say whether it took effect: " + faultText(a)
	return w.end(ctx, inflight, a, policy.Decision{
		Rule: ruleVerify, Class: policy.ClassOutcomeUnknown, Action: policy.ActionDeadLetter,
		Message: policy.ClassOutcomeUnknown.Message(), Advice: policy.ClassOutcomeUnknown.Advice(),
	}, entry)
}

// askAgain puts the call back until the API is asked again.
func (w *Worker) askAgain(ctx context.Context, inflight *inflightCall, entry *ledger.Attempt, wait time.Duration, text string) disposition {
	if _, applied := w.retryRecord(ctx, w.dispatcher.Attempt, inflight.delivery, entry); !applied {
		return w.abandon(inflight.delivery)
	}
	return disposition{kind: dispositionRetry, delay: wait, text: text}
}

// sendAgain retries a call that took no effect, if it has attempts left.
func (w *Worker) sendAgain(ctx context.Context, inflight *inflightCall, a attempted, entry *ledger.Attempt) disposition {
	delivery := inflight.delivery
	delivery.Sent, delivery.VerifyAsked, delivery.VerifyAbsent = 0, 0, 0
	again := inflight.call
	again.Batch, again.Key = delivery.Batch, delivery.Key
	w.cfg.Journal.Returned(again)
	backoff, _ := inflight.account.policy.Backoff("standard")
	if delivery.Attempts >= backoff.Attempts {
		a.Outcome.Message = "the API says that it took no effect, and its attempts are used up"
		return w.end(ctx, inflight, a, policy.Decision{
			Rule: ruleVerify, Class: policy.ClassTransient, Action: policy.ActionDeadLetter, Exhausted: true,
			Message: policy.ClassTransient.Message(), Advice: policy.ClassTransient.Advice(),
		}, entry)
	}
	delay := backoff.Delay(max(delivery.Attempts-1, 0), policy.SeededJitter(delivery.ID))
	if _, applied := w.retryRecord(ctx, w.dispatcher.Attempt, delivery, entry); !applied {
		return w.abandon(delivery)
	}
	return disposition{kind: dispositionRetry, delay: delay, text: "took no effect, is sent again"}
}
