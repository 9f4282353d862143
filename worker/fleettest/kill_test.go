package fleettest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// kill is one kill: after how many arrivals, and of which process, or of Redis if victim is
// below zero.
type kill struct {
	after  int
	victim int
}

// killsOf draws kills from a seed.
func killsOf(seed uint64, workers, redises, processes, calls int) []kill {
	random := rand.New(rand.NewPCG(seed, 0))
	var list []kill
	for i := range workers + redises {
		b := kill{after: 1 + random.IntN(calls*4/5), victim: random.IntN(processes)}
		if i >= workers {
			b.victim = -1
		}
		list = append(list, b)
	}
	slices.SortFunc(list, func(a, b kill) int { return cmp.Compare(a.after, b.after) })
	return list
}

// seed returns CALLQ_SEED, or a new seed, and prints it: with it the same processes
// are killed after the same numbers of calls.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if text := os.Getenv("CALLQ_SEED"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("CALLQ_SEED: %v", err)
		}
	}
	t.Logf("CALLQ_SEED=%d", n)
	return n
}

func TestNothingIsLostOrDoubledWhateverIsKilled(t *testing.T) {
	t.Parallel()
	s := faults(t)
	workers, redises := 4, 1
	if s.full {
		workers, redises = 20, 3
	}
	list := killsOf(seed(t), workers, redises, s.processes, s.calls)
	server := redistest.Redis(t)
	f := start(t, setup{
		size: s, client: server.Client, url: server.URL,
		settings: "timeout: 2s",
		policy: `
backoffs:
  standard: {floor: 100ms, base: 200ms, cap: 1s, attempts: 8}
  brief: {floor: 100ms, base: 200ms, cap: 1s, attempts: 5}
breaker: {window: 30s, min_calls: 100000, ratio: 0.9}
`,
	})
	// The API fails too: it refuses for a while and is unavailable for a while, and a few
	// percent of the calls hang, are cut, or are reset after the work was done.
	f.script(`4%% * * -> reset-after latency=20ms; ok latency=50ms forever
3%% * * -> cut latency=20ms; ok latency=50ms forever
1%% * * -> hang=5s; ok latency=50ms forever
* /b/*7 -> 68300008; ok latency=50ms forever
shared * /b/*9 -> ok x%d latency=50ms; %s retry-after=1; ok latency=50ms forever
* * -> ok latency=50ms forever`, s.calls/40, quota)
	const batch = "b"
	f.sendMixed(batch, s.calls)
	killed := 0
	for _, b := range list {
		f.awaitAPI("more calls", func(now simapi.Stats) bool { return now.Arrivals >= int64(b.after) })
		if b.victim < 0 {
			server.Restart()
			continue
		}
		f.processes[b.victim].kill()
		killed++
		f.processes[b.victim] = f.add()
	}
	last := time.Now()
	f.awaitEnded(batch, 0)
	t.Logf("%d workers and %d Redis were killed; the last call ended %s after the last kill", killed, redises, time.Since(last).Round(time.Second))
	f.wantNothingLostOrTwice(batch, s.calls, killed*s.concurrency)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}

// wantNothingLostOrTwice checks that each of the n calls of a batch has one result,
// that idempotent calls are done, and that the others are done or ended as
// outcome_unknown, because their worker died or the API did not answer. None of the others
// may be sent again after it could have had its effect. unlucky is the most calls that can
// have been in flight in workers that were killed.
func (f *fleet) wantNothingLostOrTwice(batch string, n, unlucky int) {
	f.t.Helper()
	f.wantBalanced(batch)
	sent := map[string][]simapi.Call{}
	for _, c := range f.sim.Calls() {
		sent[c.Method+" "+c.Path] = append(sent[c.Method+" "+c.Path], c)
	}
	harmless := func(c simapi.Call) bool { return c.Answer == quota || c.Answer == "68300008" }
	results, unknown, mystery, again := map[string]int{}, 0, 0, 0
	for r, err := range f.follow().Results(f.t.Context(), batch) {
		if err != nil {
			f.t.Fatal(err)
		}
		results[r.Key]++
		arrived := sent[r.Method+" "+r.Path]
		effects := 0
		for i, c := range arrived {
			if !harmless(c) {
				effects++
				if r.Method == http.MethodPost && i+1 < len(arrived) {
					f.t.Errorf("%s %s was sent again after %s", r.Method, r.Path, c.Answer)
				}
			}
		}
		if effects > 1 {
			again++
		}
		switch {
		case r.State == tasks.StateDone && effects > 0:
		case r.State == tasks.StateDead && r.Class == "outcome_unknown" && r.Method == http.MethodPost:
			unknown++
			if len(arrived) == 0 || harmless(arrived[len(arrived)-1]) || arrived[len(arrived)-1].Answer == "ok" {
				mystery++ // the call's worker died
			}
		default:
			f.t.Errorf("%s (%s) ended as %s (%s: %s) after %d arrivals", r.Key, r.Method, r.State, r.Class, r.ErrorMessage, len(arrived))
		}
		if results[r.Key] > 1 {
			f.t.Errorf("%s has %d results, want 1", r.Key, results[r.Key])
		}
	}
	if len(results) != n {
		f.t.Errorf("%d calls have results, want %d", len(results), n)
	}
	if mystery > unlucky {
		f.t.Errorf("%d calls ended as unknown though the API had answered them, want at most the %d that were in flight in killed workers", mystery, unlucky)
	}
	f.t.Logf("%d results; %d calls ended as unknown, %d of them with their workers; %d idempotent calls were made twice", len(results), unknown, mystery, again)
}

// A server that is killed has handed to the system what it acknowledged: it is lost only if
// the machine fails too.
func TestARedisThatIsKilledComesBackWithAllThatItConfirmed(t *testing.T) {
	t.Parallel()
	s := faults(t)
	server := redistest.Redis(t)
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	const batch, away = "b", 5 * time.Second
	lines := f.makeBusy(batch, 100*time.Millisecond)
	server.Kill()
	died := time.Now()
	f.awaitTime(died.Add(away))
	// Redis serves before Restart returns.
	back := time.Now()
	server.Restart()
	f.wantCalm(lines, away)
	if late := f.arrivals(died.Add(f.slack()), back); len(late) > 0 {
		t.Errorf("%d calls were started without Redis: %s", len(late), inWords(late, died))
	}
	f.awaitAPI("calls again", func(now simapi.Stats) bool { return now.Last.After(back) })
	t.Logf("calls were made again %s after Redis was back", time.Since(back))
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
}

func TestWorkersThatAreReplacedUnderLoadLoseNothingAndDoubleNothing(t *testing.T) {
	t.Parallel()
	s := faults(t)
	f := start(t, setup{size: s})
	f.script("* /b/*7 -> 68300008; ok latency=200ms forever\n* * -> ok latency=200ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	for i := range f.processes {
		f.awaitAPI("a busy fleet", func(now simapi.Stats) bool { return now.Arrivals >= int64((i+1)*s.calls/8) })
		old := f.processes[i]
		f.processes[i] = f.add()
		asked := time.Now()
		if status := old.terminate(); status != 0 {
			t.Errorf("%s ended with status %d", old.name, status)
		}
		t.Logf("%s drained in %s", old.name, time.Since(asked).Round(time.Millisecond))
		if late := f.arrivalsBy(old.name, asked.Add(f.slack())); late > 0 {
			t.Errorf("%s started %d calls after it was asked to end", old.name, late)
		}
	}
	f.awaitEnded(batch, 0)
	f.wantAllDoneOnce(batch, s.calls)
	if again := f.madeAgain(batch); again > 0 {
		t.Errorf("%d calls were made twice", again)
	}
}

// arrivalsBy returns how many calls a process has sent from a moment on.
func (f *fleet) arrivalsBy(process string, from time.Time) (n int) {
	for _, c := range f.arrivals(from, time.Time{}) {
		if c.Headers[workerHeader] == process {
			n++
		}
	}
	return n
}

func TestASenderThatIsKilledIsCompletedByTheNextSendOfTheSameFile(t *testing.T) {
	t.Parallel()
	s := faults(t)
	f := start(t, setup{size: s})
	const batch = "b"
	lines := 20 * s.calls
	file := f.t.TempDir() + "/calls.jsonl"
	text := make([]byte, 0, 64*lines)
	for i := range lines {
		text = fmt.Appendf(text, "{\"key\":\"k%d\",\"path\":\"/b/%d\"}\n", i, i)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	// Each sender runs a little longer than the one before.
	seen, cut := int64(0), 0
	for range 3 {
		cmd := f.command("send", file, "--batch", batch)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		f.await("more calls to be accepted", func() bool {
			b, err := f.ledger.Batch(t.Context(), batch)
			return err == nil && b.Counts.Accepted > seen
		})
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, or had just ended
		if seen = f.counts(batch).Accepted; seen == int64(lines) {
			break
		}
		t.Logf("%d of %d calls were accepted when the sender was killed", seen, lines)
		cut++
	}
	if cut == 0 {
		t.Fatalf("the first sender had sent all %d calls when it was killed: the test proves nothing", lines)
	}
	status, output := f.callq("send", file, "--batch", batch, "--wait")
	if status != 0 {
		t.Errorf("the last send ended with status %d:\n%s", status, output)
	}
	f.wantAllDoneOnce(batch, lines)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}
