package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// The Redis of a run ends with it.
func TestARunContinuesAfterAKillWithoutLosingOrRepeatingACall(t *testing.T) {
	t.Parallel()
	const concurrency = 4
	lines, kills := 200, 2
	if n, err := strconv.Atoi(os.Getenv("CALLQ_FAULTS")); err == nil { // see make faults
		lines, kills = n/5, 30
	}
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	sim, url := simulate(t, simapi.Config{Latency: simapi.Latency{Min: 50 * time.Millisecond, Max: 100 * time.Millisecond}})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, concurrency: %d}}\n", url, concurrency))
	var calls strings.Builder
	for i := range lines {
		fmt.Fprintf(&calls, "{\"key\":\"k%d\",\"method\":%q,\"path\":\"/%d\"}\n", i, []string{"GET", "GET", "POST"}[i%3], i)
	}
	h.write("calls.jsonl", calls.String())
	for i := range kills {
		_, signal, end := h.start("run", "calls.jsonl", "-o", "out")
		await(t, "some calls", func() bool { return sim.Stats().Arrivals >= int64((i+1)*lines/(kills+2)) })
		signal(syscall.SIGKILL)
		end()
	}
	cmd, out, errs := h.command("run", "calls.jsonl", "-o", "out", "--json")
	began := time.Now()
	err := cmd.Run()
	// The calls that were under way at the kill are taken up at once.
	if took := time.Since(began); took > 30*time.Second && kills == 2 {
		t.Errorf("the last run took %s: it waited until the leases of the dead process expired", took)
	}
	if !strings.Contains(errs.String(), "a worker was killed") {
		t.Errorf("it does not say so:\n%s", errs)
	}
	if status := cmd.ProcessState.ExitCode(); status != exitOK && status != exitFailedCalls {
		t.Fatalf("the last run ended with %v\n%s%s", err, out, errs)
	}
	arrived := map[string]int{}
	for _, c := range sim.Calls() {
		arrived[c.Method+" "+c.Path]++
	}
	results, unknown, again := map[string]bool{}, 0, 0
	for line := range strings.Lines(h.read("out")) {
		var r struct{ Key, Method, Path, State, Class string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%s: got %v", line, err)
		}
		if results[r.Key] {
			t.Errorf("%s has two results", r.Key)
		}
		results[r.Key] = true
		times := arrived[r.Method+" "+r.Path]
		switch {
		case r.State == "done" && times == 1:
		case r.State == "done" && r.Method == "GET":
			again++
		case r.Class == "outcome_unknown" && r.Method == "POST" && times <= 1:
			unknown++
		default:
			t.Errorf("%s %s ended %s, %s, and arrived %d times", r.Method, r.Path, r.State, r.Class, times)
		}
	}
	if len(results) != lines {
		t.Errorf("%d of %d calls have results", len(results), lines)
	}
	// Those that were under way at a kill.
	if most := kills * concurrency; unknown > most || again > most {
		t.Errorf("%d calls ended as unknown and %d were made again, of %d that can have been under way", unknown, again, most)
	}
	h.callq(exitOK, "audit")
}

func TestARunSaysThatOtherProcessesMakeCalls(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	h := newHome(t, "")
	_, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {sim: {base_url: %q, policy: patsnap}}\n", server.URL, url))
	h.write("calls.jsonl", `{"path":"/a"}`)
	const line = "1 call is being made by other processes; if one of them was killed, its calls are made again within a minute"
	if _, errs := h.callq(exitOK, "run", "calls.jsonl"); strings.Contains(errs, "under way") {
		t.Errorf("without such calls: got:\n%s", errs)
	}
	other := redis.Z{Score: float64(time.Now().Add(30 * time.Second).Unix()), Member: "other"}
	if err := server.Client.ZAdd(t.Context(), "asynq:{sim:high}:lease", other).Err(); err != nil {
		t.Fatal(err)
	}
	if _, errs := h.callq(exitOK, "run", "calls.jsonl", "-o", "out"); !strings.Contains(errs, line) {
		t.Errorf("got:\n%s", errs)
	}
}
