package worker

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

func TestTheRecordOfAnAttemptIsBounded(t *testing.T) {
	p, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	inflight := &inflightCall{account: &account{policy: p}}
	long := strings.Repeat("<\"", 4000)
	for _, value := range []string{"", "busy", long} {
		a := attempted{number: 3, Answer: upstream.Answer{Outcome: policy.Outcome{
			Status: 429, Code: "busy", Message: value, CorrelationID: value[:min(len(value), 256)], Header: http.Header{"Retry-After": {value}, "X-Ratelimit-Reset": {"3"}},
		}}}
		a.decision = p.Decide(a.Outcome, a.judged)
		entry := inflight.entryOf(a, a.decision, circuitEffect{})
		line, err := json.Marshal(entry)
		if err != nil {
			t.Fatal(err)
		}
		if len(line) > 2<<10 {
			t.Errorf("the record of an attempt has %d bytes: %s", len(line), line)
		}
		if entry.Kept == nil {
			t.Error("nothing is kept of an attempt that failed")
		}
	}
	well := attempted{number: 1, Answer: upstream.Answer{Outcome: policy.Outcome{Status: 200, Header: http.Header{"Retry-After": {"3"}}}}}
	well.decision = policy.Decision{Action: policy.ActionSucceed, Class: policy.ClassOK, Rule: "ok"}
	if entry := inflight.entryOf(well, well.decision, circuitEffect{}); entry.Kept != nil || entry.Status != 200 {
		t.Errorf("got %+v, want the status alone", entry)
	}
}
