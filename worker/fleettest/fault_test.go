package fleettest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// faults returns the size of the tests of faults. CALLQ_FAULTS, a number of calls,
// selects the large size, which takes minutes.
func faults(t *testing.T) size {
	t.Helper()
	s := fleetSize(t)
	s.processes, s.concurrency, s.calls, s.full = 3, 8, 1500, false
	if text := os.Getenv("CALLQ_FAULTS"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1000 {
			t.Fatalf("CALLQ_FAULTS is %q, want a number of calls from 1000 on", text)
		}
		s.processes, s.calls, s.full = 4, n, true
	}
	return s
}

// sendMixed enqueues n calls of all priorities. A third of them are not idempotent.
func (f *fleet) sendMixed(batch string, n int) {
	f.t.Helper()
	f.sendCalls(batch, n, func(i int, c *tasks.Call) {
		c.Priority = []tasks.Priority{tasks.PriorityNormal, tasks.PriorityHigh, tasks.PriorityLow}[i/3%3]
		if i%3 == 0 {
			c.Method = http.MethodPost
		}
	})
}

// makeBusy enqueues a batch of all kinds of calls, each of which takes the API latency, and
// returns when a quarter of them has arrived. It returns how many lines the processes have
// logged until then.
func (f *fleet) makeBusy(batch string, latency time.Duration) (lines int) {
	f.t.Helper()
	f.script("* * -> ok latency=%s forever", latency)
	f.sendMixed(batch, f.calls)
	f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.Arrivals >= int64(f.calls/4) })
	lines, _ = f.complaints()
	return lines
}

// awaitBack waits until calls are made again after a master's death, and returns how
// long that took.
func (f *fleet) awaitBack(died time.Time) time.Duration {
	f.t.Helper()
	before := len(f.arrivals(time.Time{}, died.Add(f.slack())))
	f.awaitAPI("calls through the new master", func(now simapi.Stats) bool { return now.Arrivals > int64(before+f.calls/8) })
	back := time.Since(died)
	f.t.Logf("calls were made again %s after the master's death", back)
	return back
}

// wantAllDoneOnce checks that all n calls of a batch are done, that each has one
// result and the ledger is consistent, and that the API did no call twice that is not
// idempotent. Workers that survive a fault must lose nothing.
func (f *fleet) wantAllDoneOnce(batch string, n int) {
	f.t.Helper()
	f.wantBalanced(batch)
	if c := f.counts(batch); c.Accepted != int64(n) || c.Done != int64(n) {
		f.t.Errorf("counts of %s: got %+v, want %d accepted and done", batch, c, n)
	}
	worked := f.worked()
	results, wrong, again := map[string]int{}, 0, 0
	for r, err := range f.follow().Results(f.t.Context(), batch) {
		if err != nil {
			f.t.Fatal(err)
		}
		results[r.Key]++
		times := worked[r.Method+" "+r.Path]
		if r.Method != http.MethodPost && times > 1 {
			again++
		} else if r.State == tasks.StateDone && times == 1 && results[r.Key] == 1 {
			continue
		} else if wrong++; wrong <= 5 {
			f.t.Errorf("%s (%s) ended as %s (%s: %s) with %d results, and the API did it %d times; want done, one result, once", r.Key, r.Method, r.State, r.Class, r.ErrorMessage, results[r.Key], times)
		}
	}
	if len(results) != n || wrong > 0 {
		f.t.Errorf("%d calls of %s have results, %d of them wrong; want %d, none wrong", len(results), batch, wrong, n)
	}
	f.t.Logf("%d idempotent calls were made twice", again)
}

// worked returns how often the API has done the work of each call.
func (f *fleet) worked() map[string]int {
	times := map[string]int{}
	for _, c := range f.sim.Calls() {
		if c.Answer == "ok" {
			times[c.Method+" "+c.Path]++
		}
	}
	return times
}

// madeAgain counts the calls of a batch whose work the API has done more than once.
func (f *fleet) madeAgain(batch string) (n int) {
	for call, times := range f.worked() {
		if times > 1 && strings.Contains(call, " /"+batch+"/") {
			n++
		}
	}
	return n
}

// complaints counts what all processes have logged, and how often they logged that
// Redis failed.
func (f *fleet) complaints() (lines, redisErrors int) {
	for _, p := range f.processes {
		text := p.log.String()
		lines += strings.Count(text, "\n")
		redisErrors += strings.Count(text, "Redis failed: no call starts")
	}
	return lines, redisErrors
}

// wantCalm checks that the processes did not log all the time while Redis did not answer,
// for away.
func (f *fleet) wantCalm(before int, away time.Duration) {
	f.t.Helper()
	lines, redisErrors := f.complaints()
	lines -= before
	f.t.Logf("%d processes wrote %d lines while Redis did not answer for %s, %d of all lines about Redis", len(f.processes), lines, away, redisErrors)
	// Each process may log it once a second.
	if most := len(f.processes) * (2*int(away/time.Second) + 10); lines > most {
		f.t.Errorf("they wrote %d lines, want at most %d", lines, most)
	}
	if redisErrors == 0 {
		f.t.Error("no process logged that Redis failed")
	}
}

// command returns a command of callq for the fleet's Redis, not started.
func (f *fleet) command(args ...string) *exec.Cmd {
	f.t.Helper()
	dir := f.t.TempDir()
	config := filepath.Join(dir, "callq.yaml")
	text := fmt.Sprintf("redis: %q\nupstreams:\n  %s: {base_url: \"http://127.0.0.1:9\", policy: patsnap}\n", f.url, upstream)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	cmd := exec.Command(program(f.t), append(args, "--config", config)...)
	cmd.Dir, cmd.SysProcAttr = dir, tied()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "GORACE=atexit_sleep_ms=0"}
	return cmd
}

// callq runs a command, and returns its exit status and all that it wrote.
func (f *fleet) callq(args ...string) (status int, output string) {
	f.t.Helper()
	cmd := f.command(args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		f.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}
