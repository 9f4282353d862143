package lab

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func preset(t *testing.T, name string) *policy.Policy {
	t.Helper()
	p, err := policy.Preset(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, cfg Config) Report {
	t.Helper()
	if cfg.Start.IsZero() {
		cfg.Start = noon
	}
	r, err := Run(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCallsWithoutAFaultTakeTheTimeOfTheirAnswers(t *testing.T) {
	r := run(t, Config{Policy: preset(t, "patsnap"), Calls: 100, Workers: 10})
	if r.Sent != 100 || r.Took != time.Second || r.Held != 0 || r.Open != 0 || r.Ends[End{"done", "ok", "ok"}] != 100 {
		t.Errorf("got %+v", r)
	}
}

func TestARateIsKept(t *testing.T) {
	r := run(t, Config{Policy: preset(t, "patsnap"), Calls: 601, Workers: 10, Limits: []string{"600/min"}})
	if r.Sent != 601 || r.Took < time.Minute || r.Took > 62*time.Second {
		t.Errorf("601 calls at 600 a minute took %v", r.Took)
	}
}

func TestAWindowIsWaitedFor(t *testing.T) {
	r := run(t, Config{Policy: preset(t, "patsnap"), Calls: 25, Workers: 10, Limits: []string{"10/hour"}})
	if r.Sent != 25 || r.Took < 2*time.Hour || r.Took > 2*time.Hour+time.Minute {
		t.Errorf("25 calls at 10 an hour took %v", r.Took)
	}
}

func TestAQuotaHoldsTheAccountForTheTimeThatTheServerGave(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "patsnap"), Calls: 50, Workers: 4,
		Script: simapi.MustParseScript("shared * * -> ok x20; 67200001 retry-after=600; ok forever"),
	})
	if r.Refused != 1 || r.Held < 10*time.Minute || r.Held > 10*time.Minute+2*time.Second || r.Ends[End{"done", "ok", "ok"}] != 50 {
		t.Errorf("got %+v", r)
	}
}

func TestTheLadderClimbsWhileProbesAreRefused(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "patsnap"), Calls: 5, Workers: 1,
		Script: simapi.MustParseScript("shared * * -> 67200001 x3; ok forever"),
	})
	// 1 min, 5 min, 15 min
	if r.Refused != 3 || r.Held < 21*time.Minute || r.Held > 21*time.Minute+3*time.Second || r.Open != 0 {
		t.Errorf("got %+v", r)
	}
}

func TestAnErrorThatOpensOnlyAfterSeveralDoesNotHoldWhenAProbeMeetsIt(t *testing.T) {
	p, err := policy.Parse("api.yaml", []byte(`extends: http
holds: {cleaning: {sources: [ladder], ladder: [1m]}}
rules:
  - {id: cleaning, match: {http: [503]}, class: transient, job: park, circuit: {hold: cleaning}}
  - {id: old, match: {http: [400]}, class: auth, job: dead_letter, circuit: {hold: credential, after: 3}}
`))
	if err != nil {
		t.Fatal(err)
	}
	for script, held := range map[string]time.Duration{
		"GET /1 -> http:503; ok\nGET /2 -> http:400\nGET /3 -> http:400": time.Minute + 3*time.Second, // two probes, 1 s and 2 s apart
		"GET /1 -> http:503; ok\nGET /2 -> http:400":                     time.Minute + time.Second,
	} {
		r := run(t, Config{Policy: p, Calls: 6, Workers: 1, Script: simapi.MustParseScript(script)})
		bad := strings.Count(script, "400")
		if r.Ends[End{"dead", "auth", "old"}] != bad || r.Ends[End{"done", "ok", "ok"}] != 6-bad || r.Held < held || r.Held > held+2*time.Second {
			t.Errorf("%s:\ngot %+v", script, r)
		}
	}
}

func TestAnOutageOpensTheCircuit(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "http"), Calls: 200, Workers: 10,
		Script: simapi.MustParseScript("shared * * -> http:503 x60; ok forever"),
	})
	if len(r.Holds) == 0 || r.Holds[0].Name != "outage" || r.Open != 0 {
		t.Errorf("got holds %+v, %d open", r.Holds, r.Open)
	}
}

func TestWhereEachCallFailsTwiceTheLadderOfTheOutageIsNotClimbed(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "http"), Calls: 200, Workers: 4,
		Script: simapi.MustParseScript("* * -> http:503; http:502; ok forever"),
	})
	if r.Ends[End{"done", "ok", "ok"}] != 200 || r.Took > 10*time.Minute {
		t.Errorf("got %v after %v", r.Ends, r.Took)
	}
}

func TestALongOutageUsesUpNoCallsAttempts(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "http"), Calls: 25, Workers: 4,
		Script: simapi.MustParseScript("shared * * -> http:503 x200; ok forever"),
	})
	// The first 20 trip the breaker, then there is a probe every 5 s.
	if r.Ends[End{"done", "ok", "ok"}] != 25 || r.Took < 15*time.Minute || r.Took > 16*time.Minute {
		t.Errorf("got %v after %v", r.Ends, r.Took)
	}
}

func TestTheSameSeedGivesTheSameReport(t *testing.T) {
	cfg := Config{Policy: preset(t, "patsnap"), Calls: 300, Workers: 8, Seed: 7, Limits: []string{"adaptive"}, Script: simapi.MustParseScript(mixture)}
	if a, b := run(t, cfg), run(t, cfg); !reflect.DeepEqual(a, b) {
		t.Errorf("got %+v and %+v", a, b)
	}
}

func TestATimeoutAndAResetAreWhatAWorkerFinds(t *testing.T) {
	r := run(t, Config{
		Policy: preset(t, "http"), Calls: 3, Workers: 3, Timeout: 5 * time.Second,
		Script: simapi.MustParseScript("GET /1 -> hang forever\nGET /2 -> reset; ok\nGET /3 -> cut; ok latency=2s"),
	})
	dead := 0
	for end, n := range r.Ends {
		if end.State == "dead" && end.Class == "transient" {
			dead += n
		}
	}
	if r.Ends[End{"done", "ok", "ok"}] != 2 || dead != 1 {
		t.Errorf("got %+v", r.Ends)
	}
}

const mixture = `20% * * -> 68300008 x2; ok
20% * * -> 68300004
20% * * -> 67200001 retry-after=1; ok
10% * * -> html; cut; ok
10% * * -> 68300006 forever
`

// The real pipeline, at a small size: ends, attempts and requests agree.
func TestTheModelAgreesWithThePipeline(t *testing.T) {
	const calls = 60
	script := simapi.MustParseScript(mixture)
	p := callqtest.Fast(t)
	got := run(t, Config{Policy: p, Calls: calls, Workers: 8, Script: script, Latency: time.Millisecond})

	env := callqtest.New(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: p, Concurrency: 8}}})
	env.Sim().Script(mixture)
	env.Start()
	want := map[End]int{}
	attempts := 0
	var ids []string
	for n := range calls {
		ids = append(ids, env.Submit(tasks.Call{Path: "/" + strconv.Itoa(n+1)}).ID)
	}
	for _, id := range ids {
		r := env.Await(id)
		want[End{string(r.State), r.Class, r.Rule}]++
		attempts += r.Attempts
	}
	if !reflect.DeepEqual(got.Ends, want) {
		t.Errorf("the model ends with %v, the pipeline with %v", got.Ends, want)
	}
	if got.Attempts != attempts {
		t.Errorf("the model spends %d attempts, the pipeline %d", got.Attempts, attempts)
	}
	t.Logf("requests: the model %d, the pipeline %d", got.Sent, env.Sim().Arrivals())
	if diff := got.Sent - env.Sim().Arrivals(); diff < -6 || diff > 6 { // which calls are in flight when a hold begins
		t.Errorf("the model sends %d requests, the pipeline %d", got.Sent, env.Sim().Arrivals())
	}
}

func TestThePlotIsWellFormed(t *testing.T) {
	r := run(t, Config{Policy: preset(t, "patsnap"), Calls: 300, Workers: 8, Script: simapi.MustParseScript(mixture)})
	var b bytes.Buffer
	if err := r.Plot(&b, "a <policy> & more"); err != nil {
		t.Fatal(err)
	}
	for d := xml.NewDecoder(&b); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
