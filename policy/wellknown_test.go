package policy

import (
	"net/http"
	"testing"
	"time"
)

func TestAnswersOfWellKnownAPIsAreJudgedAsTheirDocumentsAsk(t *testing.T) {
	now := time.Date(2026, 3, 4, 10, 0, 0, 0, time.UTC) // a Wednesday
	for _, tt := range []struct {
		name, api string
		status    int
		header    map[string]string
		body      string
		class     Class
		action    Action
		scope     Scope
		hold      time.Duration // 0: no circuit opens, or it is not the server that says how long
	}{
		{"insufficient quota", "openai", 429, nil, `{"error":{"message":"You exceeded your current quota.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, ClassBalance, ActionDeadLetter, ScopeAccount, 0},
		{"tokens used up", "openai", 429, map[string]string{"x-ratelimit-remaining-requests": "12", "x-ratelimit-reset-requests": "2s", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}, `{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}`, ClassQuota, ActionPark, ScopeAccount, 6 * time.Minute},
		{"overloaded", "anthropic", 529, nil, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, ClassTransient, ActionRetry, "", 0},
		{"RetryInfo", "google", 429, nil, `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"Quota exceeded","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure"},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"13s"}]}}`, ClassQuota, ActionPark, ScopeAccount, 13 * time.Second},
		{"primary limit", "github", 403, map[string]string{"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1772619000", "x-ratelimit-limit": "5000"}, `{"message":"API rate limit exceeded for user ID 1."}`, ClassQuota, ActionPark, ScopeAccount, 10 * time.Minute},
		{"secondary limit", "github", 403, map[string]string{"x-ratelimit-remaining": "4000", "x-ratelimit-reset": "1772619000"}, `{"message":"You have exceeded a secondary rate limit."}`, ClassQuota, ActionPark, ScopeAccount, time.Minute},
		{"conflict to retry", "stripe", 409, map[string]string{"Stripe-Should-Retry": "true"}, `{"error":{"type":"idempotency_error","message":"There is currently another in-progress request."}}`, ClassTransient, ActionRetry, "", 0},
		{"declined", "stripe", 402, nil, `{"error":{"type":"card_error","code":"card_declined","decline_code":"generic_decline","message":"Your card was declined."}}`, ClassBadParameter, ActionDeadLetter, "", 0},
		{"throttled", "shopify", 200, nil, `{"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}],"extensions":{"cost":{"requestedQueryCost":252,"actualQueryCost":null,"throttleStatus":{"maximumAvailable":1000.0,"currentlyAvailable":52,"restoreRate":50.0}}}}`, ClassQuota, ActionPark, ScopeAccount, 4 * time.Second},
		{"rate limited in a 200", "slack", 200, map[string]string{"Retry-After": "30"}, `{"ok":false,"error":"ratelimited"}`, ClassQuota, ActionPark, ScopeEndpoint, 30 * time.Second},
		{"invalid token in a 200", "slack", 200, nil, `{"ok":false,"error":"invalid_auth"}`, ClassAuth, ActionDeadLetter, ScopeAccount, 0},
		{"limit of a day", "salesforce", 403, nil, `[{"message":"TotalRequests Limit exceeded.","errorCode":"REQUEST_LIMIT_EXCEEDED"}]`, ClassQuota, ActionPark, ScopeAccount, 0},
		{"throttling on 400", "aws", 400, nil, `{"__type":"com.amazon.coral.availability#ThrottlingException","message":"Rate exceeded"}`, ClassQuota, ActionPark, ScopeAccount, 0},
		{"quota of a week", "epo-ops", 403, map[string]string{"X-Rejection-Reason": "RegisteredQuotaPerWeek"}, `<error><code>CLIENT.RobotDetected</code></error>`, ClassQuota, ActionPark, ScopeAccount, 110 * time.Hour},
	} {
		p, err := Preset(tt.api)
		if err != nil {
			t.Errorf("%s: %v", tt.api, err)
			continue
		}
		h := http.Header{}
		for name, value := range tt.header {
			h.Set(name, value)
		}
		o := p.ReadAnswer(Response{Status: tt.status, Header: h, Body: []byte(tt.body)})
		o.ReceivedAt = now
		d := p.Decide(o, Attempt{Method: "POST", Endpoint: "POST /v1/things", Idempotent: p.Upstream().IdempotencyHeader != "", N: 1})
		opens := d.Circuit.Effect == EffectOpen
		if d.Class != tt.class || d.Action != tt.action || opens != (tt.scope != "") || opens && d.Circuit.Scope != tt.scope {
			t.Errorf("%s, %s: rule %s decides %s, %s, circuit %s %s; want %s, %s, scope %q", tt.api, tt.name, d.Rule, d.Class, d.Action, d.Circuit.Effect, d.Circuit.Scope, tt.class, tt.action, tt.scope)
		}
		if tt.hold == 0 {
			continue
		}
		hold, _ := p.Hold(d.Circuit.Hold)
		if until, source := hold.Until(o, now, 0, nil); until.Sub(now) != tt.hold {
			t.Errorf("%s, %s: held for %s by %s, want %s", tt.api, tt.name, until.Sub(now), source, tt.hold)
		}
	}
}
