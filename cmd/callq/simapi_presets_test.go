package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// sunday is an hour before the week's end.
var sunday = time.Date(2026, 1, 4, 23, 0, 0, 0, time.UTC)

// simulatedAnswer returns what the simulated API answers to a call, and what its preset
// decides. The account's clock stands still on a Sunday.
func simulatedAnswer(t *testing.T, cfg simapi.Config, method, path string) (*policy.Policy, policy.Outcome, policy.Decision) {
	t.Helper()
	p, err := policy.Preset(cfg.API)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Now = func() time.Time { return sunday }
	w := httptest.NewRecorder()
	simapi.New(cfg).ServeHTTP(w, httptest.NewRequest(method, path, nil))
	o := p.ReadAnswer(policy.Response{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()})
	o.ReceivedAt = sunday
	return p, o, p.Decide(o, policy.Attempt{Method: method, Endpoint: method + " " + path, N: 1, CanRefresh: true})
}

func TestEachPresetJudgesTheSimulatedErrorsOfItsAPI(t *testing.T) {
	for _, c := range []struct {
		api, answer, call string
		class             policy.Class
		action            policy.Action
		effect            policy.Effect
		held              time.Duration // 0: not compared
	}{
		{"openai", "insufficient-quota", "POST /v1/chat/completions", policy.ClassBalance, policy.ActionDeadLetter, policy.EffectOpen, 0},
		{"openai", "rate-limit wait=6m", "POST /v1/chat/completions", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 6 * time.Minute},
		{"openai", "request-limit wait=12s", "POST /v1/chat/completions", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 12 * time.Second},
		{"anthropic", "overloaded", "POST /v1/messages", policy.ClassTransient, policy.ActionRetry, policy.EffectCount, 0},
		{"anthropic", "rate-limit wait=30s", "POST /v1/messages", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 30 * time.Second},
		{"anthropic", "credit-balance", "POST /v1/messages", policy.ClassBalance, policy.ActionDeadLetter, policy.EffectOpen, 0},
		{"google", "rate-limit wait=13s", "GET /v1/x", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 13 * time.Second},
		{"github", "rate-limit wait=20m", "GET /repos/o/r", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 20 * time.Minute},
		{"github", "secondary-limit", "GET /repos/o/r", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, time.Minute},
		{"stripe", "conflict", "POST /v1/charges", policy.ClassTransient, policy.ActionRetry, "", 0},
		{"stripe", "declined", "POST /v1/charges", policy.ClassBadParameter, policy.ActionDeadLetter, policy.EffectNone, 0},
		{"shopify", "throttled wait=4s", "POST /admin/api/2025-07/graphql.json", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 4 * time.Second},
		{"slack", "ratelimited wait=30s", "POST /chat.postMessage", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 30 * time.Second},
		{"slack", "ratelimited", "POST /chat.postMessage", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 0},
		{"slack", "rate-limit wait=30s", "POST /chat.postMessage", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 30 * time.Second},
		{"slack", "invalid-auth", "POST /chat.postMessage", policy.ClassAuth, policy.ActionDeadLetter, policy.EffectOpen, 0},
		{"salesforce", "request-limit", "GET /services/data/v62.0/query", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 0},
		{"hubspot", "rate-limit", "GET /crm/v3/objects/contacts", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 10 * time.Second},
		{"hubspot", "daily-limit", "GET /crm/v3/objects/contacts", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, time.Hour},
		{"twilio", "too-many", "GET /2010-04-01/Accounts", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, time.Second},
		{"jira", "tenant-quota wait=5m", "GET /rest/api/3/issue/A-1", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 5 * time.Minute},
		{"aws", "throttling", "POST /", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, time.Second},
		{"aws", "rest-throttling", "GET /items/1", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 0},
		{"aws", "expired-token", "POST /", policy.ClassAuth, policy.ActionDeadLetter, policy.EffectOpen, 0},
		{"epo-ops", "week-quota", "GET /rest-services/x", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, time.Hour},
		{"epo-ops", "throttled wait=4s", "GET /rest-services/x", policy.ClassQuota, policy.ActionPark, policy.EffectOpen, 4 * time.Second},
		{"epo-ops", "expired-token", "GET /rest-services/x", policy.ClassAuth, policy.ActionDeadLetter, policy.EffectOpen, 0},
	} {
		t.Run(c.api+" "+c.answer, func(t *testing.T) {
			script, err := simapi.ParseScriptFor(c.api, "* * -> "+c.answer)
			if err != nil {
				t.Fatal(err)
			}
			method, path, _ := strings.Cut(c.call, " ")
			p, o, d := simulatedAnswer(t, simapi.Config{API: c.api, Script: script}, method, path)
			if d.Class != c.class || d.Action != c.action || c.effect != "" && d.Circuit.Effect != c.effect {
				t.Errorf("rule %s: class %s, %s, circuit %s; want %s, %s, %s", d.Rule, d.Class, d.Action, d.Circuit.Effect, c.class, c.action, c.effect)
			}
			if hold, found := p.Hold(d.Circuit.Hold); c.held != 0 && found {
				until, source := hold.Until(o, sunday, 0, nil)
				if held := until.Sub(sunday); held != c.held {
					t.Errorf("rule %s: held %v by %s, want %v", d.Rule, held, source, c.held)
				}
			} else if c.held != 0 {
				t.Errorf("rule %s holds nothing", d.Rule)
			}
		})
	}
}

func TestEachPresetTakesTheSimulatedGoodAnswersOfItsAPI(t *testing.T) {
	for _, api := range simapi.APIs() {
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			_, o, d := simulatedAnswer(t, simapi.Config{API: api, Quota: simapi.Quota{Calls: 10, Window: time.Minute}}, method, "/v1/x")
			if d.Class != policy.ClassOK || d.Action != policy.ActionSucceed {
				t.Errorf("%s %s: rule %s, class %s (status %d)", api, method, d.Rule, d.Class, o.Status)
			}
		}
	}
}

func TestEachPresetJudgesAUsedUpQuotaOfItsAPI(t *testing.T) {
	for _, api := range simapi.APIs() {
		sim := simapi.New(simapi.Config{API: api, Quota: simapi.Quota{Calls: 1, Window: time.Minute}, Now: func() time.Time { return sunday }})
		p, err := policy.Preset(api)
		if err != nil {
			t.Error(err)
			continue
		}
		var w *httptest.ResponseRecorder
		for range 2 {
			w = httptest.NewRecorder()
			sim.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/x", nil))
		}
		o := p.ReadAnswer(policy.Response{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()})
		if d := p.Decide(o, policy.Attempt{Method: http.MethodGet, Endpoint: "GET /v1/x", Idempotent: true}); d.Class != policy.ClassQuota {
			t.Errorf("%s: rule %s, class %s", api, d.Rule, d.Class)
		}
	}
}
