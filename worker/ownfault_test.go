package worker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

const shortHolds = `version: 1
name: short
extends: %s
backoffs:
  standard: {floor: 10ms, base: 10ms, cap: 10ms, attempts: 3, max_age: 24h}
  brief: {floor: 10ms, base: 10ms, cap: 10ms, attempts: 3, max_age: 24h}
holds:
  quota: {sources: [ladder], ladder: [50ms, 100ms]}
  rate: {sources: [ladder], ladder: [50ms, 100ms]}
  permission: {sources: [ladder], ladder: [50ms, 100ms]}
  credential: {sources: [ladder], ladder: [50ms, 100ms]}
  outage: {sources: [ladder], ladder: [50ms, 100ms]}
breaker: {window: 30s, min_calls: 6, ratio: 0.5}
`

func TestOneCallsOwnFaultDoesNotStopOtherCalls(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, preset, answer string
		bad, concurrency     int
		class                policy.Class // how the bad ones end
	}{
		{"a quota error", "patsnap", "67200001", 1, 1, policy.ClassQuota},
		{"a quota error among several at once", "patsnap", "67200001", 1, 4, policy.ClassQuota},
		{"two calls with a quota error", "patsnap", "67200001", 2, 1, policy.ClassQuota},
		{"a rate error", "patsnap", "67200002", 1, 1, policy.ClassQuota},
		{"no permission", "patsnap", "67200004", 1, 2, policy.ClassQuota},
		{"a status that means too many requests", "http", "http:429", 1, 1, policy.ClassQuota},
		{"a status that forbids", "http", "http:403", 8, 2, policy.ClassAuth},
		{"credentials that are refused", "patsnap", "67200003", 5, 1, policy.ClassAuth},
		{"a balance that is used up", "http", "http:402", 8, 2, policy.ClassBalance},
		{"a fault that does not pass", "http", "http:500", 8, 2, policy.ClassTransient},
	} {
		t.Run(c.name, func(t *testing.T) {
			pol := parse(t, fmt.Sprintf(shortHolds, c.preset))
			u := worker.Upstream{Name: "api", Policy: pol, Concurrency: c.concurrency, Endpoints: []string{"GET /doc/*"}}
			each(t, worker.Config{Upstreams: []worker.Upstream{u}}, func(t *testing.T, env *callqtest.Env) {
				env.Sim().Script("GET /doc/bad* -> " + c.answer + " forever\nGET /doc/* -> ok forever")
				for i := range c.bad {
					env.Submit(tasks.Call{Path: fmt.Sprintf("/doc/bad%d", i), Batch: "b", Key: fmt.Sprintf("bad%d", i)})
				}
				for i := range 40 {
					env.Submit(tasks.Call{Path: fmt.Sprintf("/doc/%d", i), Batch: "b", Key: fmt.Sprintf("good%d", i)})
				}
				env.Start()
				for key, r := range env.AwaitBatch("b") {
					switch {
					case strings.HasPrefix(key, "good") && r.State != tasks.StateDone:
						t.Errorf("%s ended %s (%s), though only others are refused", key, r.State, r.Class)
					case strings.HasPrefix(key, "bad") && (r.State != tasks.StateDead || r.Class != string(c.class)):
						t.Errorf("%s ended %s (%s), want dead (%s)", key, r.State, r.Class, c.class)
					}
				}
			})
		})
	}
}

func TestAnEndpointThatFailsDoesNotHoldOtherEndpoints(t *testing.T) {
	u := worker.Upstream{Name: "api", Policy: parse(t, fmt.Sprintf(shortHolds, "http")), Concurrency: 2}
	each(t, worker.Config{Upstreams: []worker.Upstream{u}}, func(t *testing.T, env *callqtest.Env) {
		env.Sim().Script("GET /broken/* -> http:500 forever\nGET /* -> ok forever")
		for i := range 20 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/broken/%d", i), Batch: "broken", Key: fmt.Sprint(i)})
		}
		for i := range 20 {
			env.Submit(tasks.Call{Path: fmt.Sprintf("/good/%d", i), Batch: "good", Key: fmt.Sprint(i)})
		}
		env.Start()
		for key, r := range env.AwaitBatch("good") {
			if r.State != tasks.StateDone {
				t.Errorf("%s ended %s (%s)", key, r.State, r.Class)
			}
		}
	})
}
