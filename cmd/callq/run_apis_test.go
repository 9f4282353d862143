package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// apiRow is a call to a simulated API that answers by a script, and how the call ends
// under the API's preset.
type apiRow struct {
	name, api, call, script string
	state                   tasks.State
	class, code             string
	attempts                int
	parked                  bool
	held                    func(now time.Time) time.Duration // of rows that are not waited for
}

// startAPIs writes a configuration with an upstream for each row, and a call to each.
func startAPIs(t *testing.T, h *home, rows []apiRow) {
	t.Helper()
	config, calls := "upstreams:\n", ""
	for _, r := range rows {
		script, err := simapi.ParseScriptFor(r.api, "* * -> "+r.script)
		if err != nil {
			t.Fatal(err)
		}
		_, url := simulate(t, simapi.Config{API: r.api, Script: script})
		config += fmt.Sprintf("  %s: {policy: %s, base_url: %q, auth: {type: none}}\n", r.name, r.api, url)
		method, path, _ := strings.Cut(r.call, " ")
		calls += fmt.Sprintf(`{"key":%q,"upstream":%q,"method":%q,"path":%q}`+"\n", r.name, r.name, method, path)
	}
	h.write("callq.yaml", config)
	h.write("calls.jsonl", calls)
}

func TestARunEndsEachSimulatedErrorAsThePresetSays(t *testing.T) {
	t.Parallel()
	done, dead := tasks.StateDone, tasks.StateDead
	rows := []apiRow{
		{name: "openai-credit", api: "openai", call: "POST /v1/chat/completions", script: "insufficient-quota; ok", state: dead, class: "balance", code: "insufficient_quota", attempts: 1},
		{name: "openai-tokens", api: "openai", call: "POST /v1/chat/completions", script: "rate-limit wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "anthropic", api: "anthropic", call: "POST /v1/messages", script: "overloaded; ok", state: done, class: "ok", attempts: 2},
		{name: "google", api: "google", call: "GET /drive/v3/files", script: "rate-limit wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "github", api: "github", call: "GET /user", script: "rate-limit wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "github-secondary", api: "github", call: "GET /user", script: "secondary-limit wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "stripe-conflict", api: "stripe", call: "POST /v1/charges", script: "conflict; ok", state: done, class: "ok", attempts: 2},
		{name: "stripe-declined", api: "stripe", call: "POST /v1/charges", script: "declined; ok", state: dead, class: "bad_parameter", code: "card_declined", attempts: 1},
		{name: "shopify", api: "shopify", call: "POST /admin/api/2025-07/graphql.json", script: "throttled wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "slack-limit", api: "slack", call: "POST /chat.postMessage", script: "ratelimited; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "slack-auth", api: "slack", call: "POST /chat.postMessage", script: "invalid-auth; ok", state: dead, class: "auth", code: "invalid_auth", attempts: 1},
		{name: "salesforce", api: "salesforce", call: "GET /services/data/v62.0/limits", script: "concurrent-limit; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "hubspot", api: "hubspot", call: "GET /crm/v3/objects/contacts", script: "secondly-limit; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "twilio", api: "twilio", call: "GET /2010-04-01/Accounts", script: "too-many; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "jira", api: "jira", call: "GET /rest/api/3/myself", script: "tenant-quota wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "aws", api: "aws", call: "POST /", script: "throttling; ok", state: done, class: "ok", attempts: 1, parked: true},
		{name: "epo", api: "epo-ops", call: "GET /published-data/search", script: "throttled wait=1s; ok", state: done, class: "ok", attempts: 1, parked: true},
	}
	h := newHome(t, filepath.Dir(program(t)))
	startAPIs(t, h, rows)
	h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out.jsonl", "--quiet")
	results := map[string]tasks.Result{}
	for r, err := range tasks.ReadResults(strings.NewReader(h.read("out.jsonl"))) {
		if err != nil {
			t.Fatal(err)
		}
		results[r.Key] = r
	}
	for _, want := range rows {
		got := results[want.name]
		if got.State != want.state || got.Class != want.class || string(got.ErrorCode) != want.code ||
			got.Attempts != want.attempts || (got.Parked > 0) != want.parked {
			t.Errorf("%s: got %s %s code %s attempts %d parked %d; want %s %s code %s attempts %d parked %t", want.name, got.State, got.Class,
				got.ErrorCode, got.Attempts, got.Parked, want.state, want.class, want.code, want.attempts, want.parked)
		}
	}
}

func TestARunIsHeldForAsLongAsTheSimulatedAPISays(t *testing.T) {
	t.Parallel()
	always := func(d time.Duration) func(time.Time) time.Duration { return func(time.Time) time.Duration { return d } }
	rows := []apiRow{
		{name: "openai", api: "openai", call: "POST /v1/chat/completions", script: "rate-limit wait=6m", held: always(6 * time.Minute)},
		{name: "google", api: "google", call: "GET /drive/v3/files", script: "rate-limit wait=13s", held: always(13 * time.Second)},
		{name: "github", api: "github", call: "GET /user", script: "rate-limit wait=50m", held: always(50 * time.Minute)},
		{name: "secondary", api: "github", call: "GET /user", script: "secondary-limit", held: always(time.Minute)},
		{name: "shopify", api: "shopify", call: "POST /admin/api/2025-07/graphql.json", script: "throttled wait=20s", held: always(20 * time.Second)},
		{name: "slack", api: "slack", call: "GET /users.list", script: "ratelimited wait=30s", held: always(30 * time.Second)},
		{name: "salesforce", api: "salesforce", call: "GET /services/data/v62.0/limits", script: "request-limit", held: always(15 * time.Minute)},
		{name: "epo", api: "epo-ops", call: "GET /published-data/search", script: "week-quota", held: func(now time.Time) time.Duration {
			today := now.UTC().Truncate(24 * time.Hour)
			days := (8 - int(today.Weekday())) % 7
			if days == 0 {
				days = 7
			}
			return today.AddDate(0, 0, days).Sub(now)
		}},
	}
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	h.onRedis(t)
	startAPIs(t, h, rows)
	_, signal, end := h.start("run", "calls.jsonl", "-o", "out.jsonl")
	untils := map[string]time.Time{}
	await(t, "every hold", func() bool {
		out, _ := h.callq(exitOK, "circuit", "list", "--json")
		var circuits []circuitRow
		if err := json.Unmarshal([]byte(out), &circuits); err != nil {
			t.Fatal(err)
		}
		for _, row := range circuits {
			if row.Until != nil {
				untils[row.Upstream] = *row.Until
			}
		}
		return len(untils) == len(rows)
	})
	now := time.Now()
	signal(os.Interrupt)
	_ = end()
	for _, r := range rows {
		want := now.Add(r.held(now))
		if off := untils[r.name].Sub(want); off < -30*time.Second || off > 10*time.Second {
			t.Errorf("%s is held until %v, want %v", r.name, untils[r.name], want)
		}
	}
}

func TestARunEndsWhenTheSimulatedOpenAIHasNoMoneyLeft(t *testing.T) {
	t.Parallel()
	sim, url := simulate(t, simapi.Config{API: "openai", Balance: simapi.Balance{Credit: 2, PerCall: 1}})
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", fmt.Sprintf("upstreams: {openai: {policy: openai, base_url: %q, auth: {type: none}, concurrency: 1}}\n", url))
	var calls strings.Builder
	for i := range 10 {
		fmt.Fprintf(&calls, `{"key":"k%d","method":"POST","path":"/v1/embeddings","body":{"input":"%d"}}`+"\n", i, i)
	}
	h.write("calls.jsonl", calls.String())
	_, errs := h.callq(exitFailed, "run", "calls.jsonl", "-o", "out.jsonl", "--patience", "1s")
	if done := strings.Count(h.read("out.jsonl"), `"state":"done"`); done != 2 {
		t.Errorf("%d calls are done, want 2\n%s", done, errs)
	}
	if refused := sim.Stats().ByAnswer["insufficient-quota"]; refused < 1 || refused > 3 {
		t.Errorf("%d calls were refused; the others must wait", refused)
	}
	says(t, errs, "insufficient_quota")
}
