package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

func TestARedriveThatIsKilledSeveralTimesRedrivesEachDeadLetterOnce(t *testing.T) {
	const letters, kills = 120, 3
	server, l := deadLetters(t, letters)
	h := newHome(t, "/nowhere")
	h.env = append(h.env, "CALLQ_REDIS="+server.URL)
	open := func() int64 {
		b, err := l.Batch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		return b.Counts.Open
	}
	for kill := range kills {
		before := open()
		cmd, out, errs := h.command("dead", "redrive", "--all", "--yes", "--rate", "100/s")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		tick, deadline := time.NewTicker(time.Millisecond), time.After(time.Minute)
		for open() < before+int64(7+5*kill) { // somewhere in the middle
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("nothing more is redriven\n%s%s", out, errs)
			}
		}
		tick.Stop()
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
		if n := open(); n == letters {
			t.Fatalf("kill %d came too late: all %d are redriven", kill+1, n)
		}
		audited(t, l)
	}
	left := letters - open()
	if out, _ := h.callq(exitOK, "dead", "redrive", "--all", "--yes", "--rate", "10000/s"); out != fmt.Sprintf("%d calls redriven\n", left) {
		t.Errorf("the last redrive printed %q, %d were left", out, left)
	}
	if out, _ := h.callq(exitOK, "dead", "redrive", "--all", "--yes"); out != "0 calls redriven\n" {
		t.Errorf("another redrive printed %q", out)
	}
	for r, err := range l.Calls(t.Context(), "b", tasks.TaskID) {
		if err != nil {
			t.Fatal(err)
		}
		if r.State != ledger.Open || r.Generation != 2 || len(r.Lineage) != 1 || r.Lineage[0].State != ledger.Dead {
			t.Errorf("%s is %s in generation %d with lineage %+v", r.Key, r.State, r.Generation, r.Lineage)
		}
	}
	audited(t, l)

	// Each is made once more, and no more often.
	env := callqtest.New(t, worker.Config{Redis: server.Client})
	env.Start()
	for key, r := range env.AwaitBatch("b") {
		if r.State != tasks.StateDone || r.Attempts != 1 {
			t.Errorf("%s ended %s with %d attempts", key, r.State, r.Attempts)
		}
	}
	env.Stop()
	if n := env.Sim().Arrivals(); n != letters {
		t.Errorf("%d requests arrived, want %d", n, letters)
	}
	audited(t, l)
}

func audited(t *testing.T, l *ledger.Ledger) {
	t.Helper()
	findings, err := l.Audit(t.Context(), "b", tasks.TaskID)
	if err != nil || len(findings) != 0 {
		t.Errorf("the audit: got %+v, %v", findings, err)
	}
}
