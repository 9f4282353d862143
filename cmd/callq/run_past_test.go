package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// rerun is a folder with a configuration and a queue that stays after each run.
type rerun struct {
	*home
	sim   *simapi.Server
	redis *redis.Client
}

func newRerun(t *testing.T, script string) *rerun {
	h := newHome(t, filepath.Dir(program(t)))
	server := h.onRedis(t)
	sim, url := simulate(t, simapi.Config{Script: simapi.MustParseScript(script)})
	h.write("quick.yaml", quick)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./quick.yaml}}\n", url))
	return &rerun{h, sim, server.Client}
}

// arrived checks how many calls have reached the API.
func (r *rerun) arrived(want int64) {
	r.t.Helper()
	if got := r.sim.Stats().Arrivals; got != want {
		r.t.Errorf("%d calls have arrived, want %d", got, want)
	}
}

// says checks that a text has a part.
func says(t *testing.T, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("it does not say %q:\n%s", part, text)
	}
}

// batch is the name of the one batch that the queue has.
func (r *rerun) batch() string {
	r.t.Helper()
	out, _ := r.callq(exitOK, "batch", "list", "--json")
	name := regexp.MustCompile(`"batch":"([^"]+)"`).FindStringSubmatch(out)
	if name == nil {
		r.t.Fatalf("no batch in %s", out)
	}
	return name[1]
}

// states are how the calls of a results file ended, by key.
func (r *rerun) states(file string) map[string]tasks.State {
	r.t.Helper()
	states := map[string]tasks.State{}
	for result, err := range tasks.ReadResults(strings.NewReader(r.read(file))) {
		if err != nil {
			r.t.Fatal(err)
		}
		if _, twice := states[result.Key]; twice {
			r.t.Errorf("%s has two lines", result.Key)
		}
		states[result.Key] = result.State
	}
	return states
}

const heldCalls = `{"key":"now","path":"/now"}` + "\n" + `{"key":"later","path":"/later"}` + "\n"

// leaveOpen makes the first call of the file, and interrupts the run of the second
// while the account is held.
func (r *rerun) leaveOpen(file string) {
	r.t.Helper()
	r.callq(exitOK, "run", file, "-o", "out", "--first", "1")
	r.callq(exitOK, "circuit", "open", "sim", "--for", "1h", "--reason", "test")
	errs, signal, end := r.start("run", file, "-o", "out")
	await(r.t, "the hold", func() bool { return strings.Contains(errs.String(), "1 call waits") })
	signal(syscall.SIGINT)
	if status := end(); status != exitFailed {
		r.t.Fatalf("exit status %d\n%s", status, errs)
	}
	r.callq(exitOK, "circuit", "close", "sim", "--reason", "test")
}

func TestACancelledCallIsMadeAgainOnlyOnRequest(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", heldCalls)
	r.leaveOpen("calls.jsonl")
	r.callq(exitOK, "batch", "cancel", r.batch(), "--yes")

	again := "callq run calls.jsonl -o out --redo cancelled\n"
	for range 2 { // from the queue, then from the results
		out, _ := r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
		says(t, out, "2 calls: 1 done, 0 dead, 0 dropped, 1 cancelled")
		if !strings.HasSuffix(out, again) {
			t.Errorf("it does not end with %q:\n%s", again, out)
		}
		if got := r.states("out"); got["later"] != tasks.StateCancelled || len(got) != 2 {
			t.Errorf("the results are %v", got)
		}
	}
	r.arrived(1)
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo", "cancelled")
	if got := r.states("out"); got["later"] != tasks.StateDone || len(got) != 2 {
		t.Errorf("the results are %v", got)
	}
	r.arrived(2)
}

func TestACallThatReturnsToTheFileIsMade(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", heldCalls)
	r.leaveOpen("calls.jsonl")
	r.write("calls.jsonl", strings.Replace(heldCalls, "later", "other", 1))
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	r.arrived(2)
	out, _ := r.callq(exitOK, "batch", "status", r.batch(), "--json")
	says(t, out, `"cancelled":1`)

	r.write("calls.jsonl", heldCalls)
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	r.arrived(3)
	if got := r.states("out"); got["later"] != tasks.StateDone {
		t.Errorf("the results are %v", got)
	}
}

func TestACallThatMayHaveBeenSentIsNotCancelledWhenItLeavesTheFile(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", heldCalls)
	r.leaveOpen("calls.jsonl")
	batch := r.batch()
	marked := "callq:{sim}:c:" + tasks.TaskID(batch, "later")
	if n, err := r.redis.Exists(t.Context(), marked).Result(); err != nil || n != 1 {
		t.Fatalf("no record %s: %v", marked, err)
	}
	r.redis.HSet(t.Context(), marked, "sent", 1)
	r.write("calls.jsonl", strings.Replace(heldCalls, "later", "other", 1))
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	out, _ := r.callq(exitOK, "batch", "export", batch, "--state", "dead,cancelled")
	says(t, out, `"key":"later"`)
	says(t, out, `"state":"dead","class":"outcome_unknown"`)
}

func TestARedrivenCallEndsInTheNextRun(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "GET /dead -> 68300006 x3; ok\nGET /dropped -> 68300004")
	r.write("calls.jsonl", `{"key":"dead","path":"/dead"}`+"\n"+`{"key":"dropped","path":"/dropped"}`+"\n"+`{"key":"ok","path":"/ok"}`+"\n")
	out, _ := r.callq(exitFailedCalls, "run", "calls.jsonl")
	says(t, out, "To make dropped calls again: change their lines, then run the same command.\n"+
		"If the configuration was wrong and not the lines (base_url, headers), correct it, then: callq run calls.jsonl --redo dropped (")
	if again := "callq run calls.jsonl --redo dead\n"; !strings.HasSuffix(out, again) {
		t.Errorf("it does not end with %q:\n%s", again, out)
	}
	_, errs := r.callq(exitFailedCalls, "run", "calls.jsonl")
	if strings.Contains(errs, "redriven") {
		t.Errorf("without a redrive: got:\n%s", errs)
	}
	r.arrived(5)
	r.callq(exitOK, "dead", "redrive", "--all", "--yes")

	out, errs = r.callq(exitFailedCalls, "run", "calls.jsonl")
	says(t, errs, "1 call has failed in calls.jsonl.results.jsonl and been redriven since")
	says(t, out, "3 calls: 2 done, 0 dead, 1 dropped")
	says(t, out, "2 were finished by an earlier run")
	if got := r.states("calls.jsonl.results.jsonl"); got["dead"] != tasks.StateDone || got["dropped"] != tasks.StateDropped || len(got) != 3 {
		t.Errorf("the results are %v", got)
	}
	r.arrived(6)
}

// id is the id that a results file has of a call.
func (r *rerun) id(file, key string) string {
	r.t.Helper()
	for result, err := range tasks.ReadResults(strings.NewReader(r.read(file))) {
		if err == nil && result.Key == key {
			return result.ID
		}
	}
	r.t.Fatalf("%s has no result of %s", file, key)
	return ""
}

func TestTheResultOfARedrivenCallIsReplaced(t *testing.T) {
	t.Parallel()
	for _, state := range []tasks.State{tasks.StateDropped, tasks.StateCancelled} {
		for _, made := range []string{"in the next run", "before it"} {
			t.Run(string(state)+", made "+made, func(t *testing.T) {
				t.Parallel()
				r := newRerun(t, "GET /later -> 68300004; ok")
				r.write("calls.jsonl", heldCalls)
				if state == tasks.StateDropped {
					r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
				} else {
					r.sim.Script("")
					r.leaveOpen("calls.jsonl")
					r.callq(exitOK, "batch", "cancel", r.batch(), "--yes")
					r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
				}
				if got := r.states("out"); got["later"] != state {
					t.Fatalf("the results are %v", got)
				}
				r.callq(exitOK, "dead", "redrive", r.id("out", "later"), "--yes")
				if made == "before it" {
					r.callq(exitOK, "run", "calls.jsonl", "-o", "other")
				}
				r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
				if got := r.states("out"); got["later"] != tasks.StateDone || len(got) != 2 {
					t.Errorf("the results are %v", got)
				}
			})
		}
	}
}

func TestARunWithoutItsQueueStillSummarizesItsResults(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "GET /dropped -> 68300004")
	r.write("calls.jsonl", `{"path":"/dropped"}`)
	r.callq(exitFailedCalls, "run", "calls.jsonl")
	out, errs := r.callq(exitFailedCalls, "run", "calls.jsonl", "--redis", "unix:///nowhere")
	says(t, out, "1 call: 0 done, 0 dead, 1 dropped")
	says(t, errs, "cannot find out whether failed calls were redriven")
	r.arrived(1)
}

func TestARunSaysThatResultsCameFromTheQueue(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	r.write("calls.jsonl", `{"path":"/a"}`+"\n"+`{"path":"/b"}`+"\n")
	out, _ := r.callq(exitOK, "run", "calls.jsonl")
	if strings.Contains(out, "known") {
		t.Errorf("the first run printed:\n%s", out)
	}
	if err := os.Remove(r.file("calls.jsonl.results.jsonl")); err != nil {
		t.Fatal(err)
	}
	out, errs := r.callq(exitOK, "run", "calls.jsonl")
	says(t, out, "2 results were already in the queue; no call was made for them.")
	says(t, errs, "2 results were already in the queue; no call is made for them; to make new calls, copy calls.jsonl to another name and run the copy")
	r.arrived(2)
	out, _ = r.callq(exitOK, "run", "calls.jsonl", "-o", "other", "--json")
	var sum summary
	if err := json.Unmarshal([]byte(out), &sum); err != nil || sum.Known != 2 || sum.Resumed != 0 {
		t.Errorf("%v: got %s", err, out)
	}
	r.write("copy.jsonl", r.read("calls.jsonl"))
	r.callq(exitOK, "run", "copy.jsonl")
	r.arrived(4)
}

func TestTheSuggestedCommandToRedoCallsIsComplete(t *testing.T) {
	for _, c := range []struct {
		app     app
		name    string
		spooled bool
		f       runFlags
		want    string
	}{
		{name: "calls.jsonl", want: "callq run calls.jsonl"},
		{name: "my calls.jsonl", f: runFlags{out: "it's"}, want: `callq run 'my calls.jsonl' -o 'it'\''s'`},
		{name: "c", f: runFlags{first: 10}, want: "callq run c --first 10"},
		{app: app{configPath: "x.yaml", redis: "redis://h:1/0"}, name: "c", want: "callq run c --config x.yaml --redis redis://h:1/0"},
		{app: app{redis: "redis://:secret@h:1/0"}, name: "c", want: "callq run c --redis URL"},
		{name: "-", spooled: true, f: runFlags{out: "out"}, want: "give the same calls to callq run - -o out"},
	} {
		if got := c.app.againLine(c.name, c.spooled, c.f); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// A call whose line was changed is in another batch, which is read while the file
// is: a long file, of which most lines say the same, takes its time.
func TestTheResultOfAChangedLineIsFoundInTheQueueOfALongFile(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "")
	long := strings.Repeat(`{"key":"a","path":"/a"}`+"\n", 150_000)
	r.write("calls.jsonl", long+`{"key":"z","path":"/z"}`)
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	r.write("calls.jsonl", long+`{"key":"z","path":"/changed"}`)
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "other")
	if got := r.states("other"); got["a"] != tasks.StateDone || got["z"] != tasks.StateDone {
		t.Errorf("the results are %v", got)
	}
	r.arrived(3)
}
