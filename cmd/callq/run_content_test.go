package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// older copies what an earlier version left, in which lines without a key were named
// by their position: a file of calls, the results of most, and what was sent when it
// was killed.
func (h *home) older() {
	h.t.Helper()
	for _, name := range []string{"calls.jsonl", "out", "out.sent"} {
		data, err := os.ReadFile(filepath.Join("testdata", "older", name))
		if err != nil {
			h.t.Fatal(err)
		}
		h.write(name, string(data))
	}
}

func TestResultsOfAnEarlierVersionAreFoundInAnyLineOrder(t *testing.T) {
	t.Parallel()
	old, err := os.ReadFile(filepath.Join("testdata", "older", "calls.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(old)), "\n")
	last := len(lines) - 1 // the call that was sent and has no result
	var sorted []string
	for i := range lines {
		sorted = append(sorted, lines[last-i])
	}
	for name, file := range map[string][]string{
		"as they were":     lines,
		"one line on top":  append([]string{`{"path":"/new"}`}, lines...),
		"sorted":           sorted,
		"one of two equal": append(append([]string{}, lines[:4]...), lines[5:]...),
		"only one":         {lines[1], lines[last]},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, filepath.Dir(program(t)))
			sim, url := simulate(t, simapi.Config{})
			h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
			h.older()
			h.write("calls.jsonl", strings.Join(file, "\n")+"\n")
			before := h.read("out")
			h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
			for _, c := range sim.Calls() {
				if c.Path != "/new" {
					t.Errorf("%s %s was made again", c.Method, c.Path)
				}
			}
			after := h.read("out")
			if !strings.HasPrefix(after, before) {
				t.Errorf("the earlier results have changed:\n%s", after)
			}
			if fresh := strings.TrimPrefix(after, before); !strings.Contains(fresh, `"path":"/slow","state":"dead","class":"outcome_unknown"`) {
				t.Errorf("the call that may have been sent ended otherwise:\n%s", fresh)
			}
		})
	}
}

// sendByPosition puts calls into the queue as an earlier version did for the lines
// of a file without keys.
func (r *rerun) sendByPosition(file string, lines []string) {
	r.t.Helper()
	r.write(file, strings.Join(lines, "\n"))
	in, err := filerun.OpenFile(r.file(file))
	if err != nil {
		r.t.Fatal(err)
	}
	defer in.Close()
	var keyed strings.Builder
	for i, line := range lines {
		fmt.Fprintf(&keyed, "{\"key\":\"line-%d\",%s\n", i+1, line[1:])
	}
	r.write("keyed", keyed.String())
	r.callq(exitOK, "send", "keyed", "--batch", in.Batch())
}

func TestCallsInAQueueOfAnEarlierVersionAreFoundInAnyLineOrder(t *testing.T) {
	t.Parallel()
	lines := []string{`{"path":"/a"}`, `{"path":"/b","method":"POST"}`, `{"path":"/c"}`, `{"path":"/b","method":"POST"}`}
	again := strings.Join([]string{`{"path":"/new"}`, lines[2], lines[1], lines[0]}, "\n")
	for name, made := range map[string]bool{"its calls are open": false, "its calls have ended": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRerun(t, "")
			r.sendByPosition("calls.jsonl", lines)
			want := int64(4) // the new one, and three of the four
			if made {
				w := startWorker(t, r.home)
				r.callq(exitOK, "batch", "wait", r.batch())
				w.signal(syscall.SIGTERM)
				w.end()
				want = 5
			}
			r.write("calls.jsonl", again)
			r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
			r.arrived(want)
			if got := r.states("out"); len(got) != 4 {
				t.Errorf("the results are %v", got)
			}
			r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
			r.arrived(want)
			r.callq(exitOK, "audit")
		})
	}
}

func TestSplittingAFileWithOpenCallsRepeatsNoCall(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n{\"path\":\"/3\",\"method\":\"POST\"}\n{\"path\":\"/4\"}\n")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--first", "2")
	r.callq(exitOK, "circuit", "open", "sim", "--for", "1h", "--reason", "test")
	errs, signal, end := r.start("run", "calls.jsonl", "-o", "out")
	await(t, "the hold", func() bool { return strings.Contains(errs.String(), "2 calls wait") })
	signal(syscall.SIGINT)
	end()
	r.callq(exitOK, "circuit", "close", "sim", "--reason", "test")

	r.write("xaa", "{\"path\":\"/1\"}\n{\"path\":\"/3\",\"method\":\"POST\"}\n")
	r.write("xab", "{\"path\":\"/2\"}\n{\"path\":\"/4\"}\n")
	r.callq(exitOK, "run", "xaa", "-o", "out")
	r.callq(exitOK, "run", "xab", "-o", "out")
	r.arrived(4)
	if got := r.states("out"); len(got) != 4 {
		t.Errorf("the results are %v", got)
	}
	for key, state := range r.states("out") {
		if state != tasks.StateDone {
			t.Errorf("%s is %s", key, state)
		}
	}
	r.callq(exitOK, "audit")
}

func TestAnOpenCallWithAResultInOUTIsNotMadeAgain(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", `{"path":"/a","method":"POST"}`+"\n")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	results := r.read("out")
	// The queue of an earlier moment, in which the call is open.
	r.redis.FlushAll(t.Context())
	r.callq(exitOK, "send", "calls.jsonl", "--batch", strings.SplitN(strings.SplitN(results, `"batch":"`, 2)[1], `"`, 2)[0])
	r.write("calls.jsonl", `{"path":"/new"}`+"\n"+`{"path":"/a","method":"POST"}`+"\n")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	r.arrived(2)
	r.callq(exitOK, "audit")
}
