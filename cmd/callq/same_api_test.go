package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/worker/simapi"
)

// calls writes the configuration for an API.
func (r *rerun) callsTo(base string) {
	r.t.Helper()
	r.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./quick.yaml}}\n", base))
}

func TestResultsOfOneAPIDoNotCountForAnother(t *testing.T) {
	t.Parallel()
	for name, lost := range map[string]struct{ out, queue bool }{
		"with OUT and queue": {},
		"OUT was deleted":    {out: true},
		"the queue was lost": {queue: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRerun(t, "")
			other, to := simulate(t, simapi.Config{})
			was := r.read("callq.yaml")
			r.write("calls.jsonl", "{\"path\":\"/a\",\"method\":\"POST\"}\n{\"key\":\"b\",\"path\":\"/b\"}\n")
			r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
			if lost.out {
				if err := os.Remove(r.file("out")); err != nil {
					t.Fatal(err)
				}
			}
			if lost.queue {
				r.redis.FlushAll(t.Context())
			}
			r.callsTo(to)
			for range 2 {
				_, errs := r.callq(exitUsage, "run", "calls.jsonl", "-o", "out")
				base := strings.Split(was, `"`)[1]
				says(t, errs, "was made with base_url "+base+" of upstream sim, which is "+to+" now")
				says(t, errs, "--same-api")
			}
			r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--same-api")
			r.callq(exitOK, "run", "calls.jsonl", "-o", "out") // it is remembered
			if len(r.states("out")) != 2 {
				t.Errorf("the results are %v", r.states("out"))
			}
			if n := other.Stats().Arrivals; n != 0 {
				t.Errorf("%d calls have reached the other API", n)
			}
			r.arrived(2)
		})
	}
}

func TestOpenCallsForOneAPIAreNotSentToAnother(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	other, to := simulate(t, simapi.Config{})
	r.write("calls.jsonl", heldCalls)
	r.leaveOpen("calls.jsonl")
	if err := os.Remove(r.file("out")); err != nil {
		t.Fatal(err)
	}
	r.callsTo(to)
	r.callq(exitUsage, "run", "calls.jsonl", "-o", "out")
	if n := other.Stats().Arrivals; n != 0 {
		t.Errorf("%d calls have reached the other API", n)
	}
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--same-api")
	if n := other.Stats().Arrivals; n != 1 {
		t.Errorf("%d calls have reached the API's other address, want the one that was open", n)
	}
}

func TestASendToABatchOfAnotherAPIIsRefused(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", `{"path":"/a"}`+"\n")
	r.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	r.callq(exitOK, "send", "GET", "/c", "--key", "c")
	r.callsTo("http://127.0.0.1:1/v2")
	_, errs := r.callq(exitUsage, "send", "calls.jsonl", "--batch", "b")
	says(t, errs, "batch b was made with base_url http://127.0.0.1:")
	says(t, errs, "which is http://127.0.0.1:1/v2 now")
	r.callq(exitUsage, "send", "GET", "/b", "--batch", "b")
	r.callq(exitUsage, "send", "GET", "/c", "--key", "c")
	r.callq(exitOK, "send", "GET", "/new") // no result of another API is taken for its own
	r.callq(exitOK, "send", "calls.jsonl", "--batch", "b", "--same-api")
	r.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	r.callq(exitOK, "send", "calls.jsonl", "--batch", "other")
}

func TestACallSentToOneAPIIsNotCountedAsSentToAnother(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"key":"a","path":"/a","method":"POST"}`+"\n")
	h.write("out.sent", `{"key":"a","digest":"00","upstream":"sim","base_url":"https://sandbox.example"}`+"\n")
	_, errs := h.callq(exitUsage, "run", "calls.jsonl", "-o", "out")
	says(t, errs, "out.sent was made with base_url https://sandbox.example of upstream sim")
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--same-api")
	if left := h.read("out.sent"); left != `{"key":"a","digest":"00","upstream":"sim","base_url":"`+url+`"}`+"\n" {
		t.Errorf("%q is left", left)
	}
}

func TestARunSaysOnceThatTheAPIOfEarlierResultsIsUnknown(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.older()
	_, errs := h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	const word = "results of an earlier version of callq do not say which base_url of upstream sim"
	if n := strings.Count(errs, word); n != 1 {
		t.Errorf("got %d times %q, want once:\n%s", n, word, errs)
	}
	if _, errs = h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out"); strings.Contains(errs, word) {
		t.Errorf("it is reported again:\n%s", errs)
	}
}
