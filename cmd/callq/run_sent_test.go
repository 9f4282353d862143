package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// results are the states and classes of a results file, by key.
func (h *home) results(name string) map[string]string {
	h.t.Helper()
	ends := map[string]string{}
	for line := range strings.Lines(h.read(name)) {
		var r struct{ Key, State, Class string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			h.t.Fatalf("%s: got %v", line, err)
		}
		if ends[r.Key] != "" {
			h.t.Errorf("%s has two results", r.Key)
		}
		ends[r.Key] = r.State + " " + r.Class
	}
	return ends
}

// Without a redis-server the queue is in the process, and ends with it.
func TestWithoutARedisAKilledRunDoesNotRepeatCallsThatAreNotIdempotent(t *testing.T) {
	t.Parallel()
	const posts, together = 24, 4
	h := newHome(t, filepath.Dir(program(t)))
	sim, url := simulate(t, simapi.Config{})
	// Some are refused at first, for a while or for good; those may be sent again.
	if err := sim.Script("* /6 -> 68300008; ok latency=300ms forever\nPOST /* -> ok latency=300ms forever"); err != nil {
		t.Fatal(err)
	}
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, concurrency: %d}}\n", url, together))
	var lines strings.Builder
	for i := range posts {
		fmt.Fprintf(&lines, "{\"key\":\"k%d\",\"method\":\"POST\",\"path\":\"/%d\"}\n", i, i)
	}
	h.write("calls.jsonl", lines.String())
	for kill := range 2 {
		arrivals := int64((kill + 1) * posts / 4)
		_, signal, end := h.start("run", "calls.jsonl", "-o", "out")
		await(t, "some calls", func() bool { s := sim.Stats(); return s.Arrivals >= arrivals && s.InFlight == together })
		signal(syscall.SIGKILL)
		end()
	}
	said, _ := h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	if !strings.Contains(said, "may have been carried out already (outcome_unknown): check that first") {
		t.Errorf("it suggests to make those calls again without a warning:\n%s", said)
	}
	arrived := map[string]int{}
	for _, c := range sim.Calls() {
		if c.Answer == "ok" {
			arrived[c.Path]++
		}
	}
	done, unknown := 0, 0
	for key, end := range h.results("out") {
		times := arrived["/"+key[1:]]
		switch {
		case end == "done ok" && times == 1:
			done++
		case end == "dead outcome_unknown" && times <= 1:
			unknown++
		default:
			t.Errorf("%s ended %s, and the API did it %d times", key, end, times)
		}
	}
	// At each kill some were on their way, and the answers to some were in memory.
	if done+unknown != posts || unknown == 0 || unknown > 4*together {
		t.Errorf("%d are done and %d unknown, want %d in all, and some unknown, %d at most", done, unknown, posts, 4*together)
	}
	if _, err := os.Stat(h.file("out.sent")); err == nil {
		t.Error("what was on its way is still noted, though all calls have ended")
	}

	// Who asks for those again has them made.
	before := sim.Stats().Arrivals
	_, said = h.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo", "dead")
	if !strings.Contains(said, "made again although the API may have carried out the earlier send (outcome_unknown)") {
		t.Errorf("the run does not say what it does:\n%s", said)
	}
	if n := sim.Stats().Arrivals - before; n != int64(unknown) {
		t.Errorf("%d calls were made for %d that were to be made again", n, unknown)
	}
}

func TestACallThatChangedSinceItWasSentIsANewCall(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	sim, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/a"}`+"\n"+`{"key":"b","method":"POST","path":"/b"}`+"\n")
	if err := sim.Script("* * -> hang=1m forever"); err != nil {
		t.Fatal(err)
	}
	_, signal, end := h.start("run", "calls.jsonl", "-o", "out")
	await(t, "both calls", func() bool { return sim.Stats().InFlight == 2 })
	signal(syscall.SIGKILL)
	end()
	if err := sim.Script("* * -> ok forever"); err != nil {
		t.Fatal(err)
	}
	h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/a"}`+"\n"+`{"key":"b","method":"POST","path":"/other"}`+"\n")
	h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	if ends := h.results("out"); ends["a"] != "dead outcome_unknown" || ends["b"] != "done ok" {
		t.Errorf("got %v", ends)
	}
}

// begun is a run that is killed when a call which hangs has arrived.
func begun(t *testing.T, h *home, sim *simapi.Server, path string, args ...string) {
	t.Helper()
	_, signal, end := h.start(append([]string{"run", "calls.jsonl"}, args...)...)
	await(t, "the call", func() bool { return sim.Stats().ByPath[path] > 0 })
	signal(syscall.SIGKILL)
	end()
}

func TestAKilledRunContinuesWithAnotherQueueAndRepeatsNoCall(t *testing.T) {
	t.Parallel()
	redis := filepath.Dir(redistest.Binary(t))
	for name, c := range map[string]struct{ before, after string }{
		"from a Redis to none": {redis, filepath.Dir(program(t))},
		"from none to a Redis": {filepath.Dir(program(t)), redis},
		"to another Redis":     {redis, redis},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sim, url := simulate(t, simapi.Config{})
			if err := sim.Script("POST /a -> hang=1m forever"); err != nil {
				t.Fatal(err)
			}
			h := newHome(t, c.before)
			h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {sim: {base_url: %q, policy: patsnap}}\n", "embedded://"+h.file("one"), url))
			h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/a"}`+"\n"+`{"key":"b","path":"/b"}`+"\n")
			begun(t, h, sim, "/a")
			h.env[0] = "PATH=" + c.after
			h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {sim: {base_url: %q, policy: patsnap}}\n", "embedded://"+h.file("two"), url))
			h.callq(exitFailedCalls, "run", "calls.jsonl")
			if ends := h.results("calls.jsonl.results.jsonl"); ends["a"] != "dead outcome_unknown" || ends["b"] != "done ok" {
				t.Errorf("got %v", ends)
			}
			if n := sim.Stats().ByPath["/a"]; n != 1 {
				t.Errorf("it arrived %d times", n)
			}
		})
	}
}

func TestASentCallIsIdentifiedByItsContentWhenItWasSent(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	sim, url := simulate(t, simapi.Config{})
	if err := sim.Script("* * -> hang=1m forever"); err != nil {
		t.Fatal(err)
	}
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	if err := os.Symlink("target", h.file("out")); err != nil { // which leads to nothing yet
		t.Fatal(err)
	}
	const line = `{"key":"a","method":"POST","path":"/%s"}` + "\n"
	for _, path := range []string{"one", "two"} {
		h.write("calls.jsonl", fmt.Sprintf(line, path))
		begun(t, h, sim, "/"+path, "-o", "out")
	}
	h.write("calls.jsonl", fmt.Sprintf(line, "one"))
	said, _ := h.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--dry-run")
	if !strings.Contains(said, "Of these, 1 is not sent again, because a killed run may have sent it: outcome_unknown.") {
		t.Errorf("the dry run printed:\n%s", said)
	}
	h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	if ends := h.results("out"); ends["a"] != "dead outcome_unknown" {
		t.Errorf("got %v", ends)
	}
	if n := sim.Stats().Arrivals; n != 2 {
		t.Errorf("%d calls arrived, want the two of the runs that were killed", n)
	}
}

func TestACallWithAResultIsNotMadeAgainEvenIfItIsStillInOUTSent(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/a"}`+"\n")
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	var r struct{ Digest string }
	if err := json.Unmarshal([]byte(h.read("out")), &r); err != nil {
		t.Fatal(err)
	}
	h.write("out.sent", fmt.Sprintf("{\"key\":\"a\",\"digest\":%q}\n", r.Digest))
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	if _, err := os.Stat(h.file("out.sent")); err == nil {
		t.Error("the note of a call that has its result is still there")
	}
}

func TestAnUnreadableOUTSentStopsTheRun(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"key":"a","path":"/a"}`+"\n")
	h.write("out.sent", "what is this\n{\"key\":\"a\",\"digest\":\"00\"}\n")
	if _, said := h.callq(exitUsage, "run", "calls.jsonl", "-o", "out"); !strings.Contains(said, "out.sent: line 1 does not say which call was sent") {
		t.Errorf("got %s", said)
	}
	// A line that was cut off when the process died is ignored.
	h.write("out.sent", "{\"key\":\"b\",\"digest\":\"00\"}\n{\"key\":\"a\",\"dig")
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	if left := h.read("out.sent"); left != "{\"key\":\"b\",\"digest\":\"00\"}\n" {
		t.Errorf("of a call that this file does not ask for, %q is left", left)
	}
}
