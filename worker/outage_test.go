package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
)

// row is a job that stands for one call.
type row struct{ N int }

func (row) Kind() string { return "row" }

// failing is an API whose calls fail.
type failing struct {
	calls int
	// answer is what the API answers to a call when it is made for the nth time, so long
	// after the start.
	answer func(call, nth int, after time.Duration) *policy.Failure

	mu   sync.Mutex
	made map[int]int
	at   []time.Duration // when the requests arrived, after the start
}

func (f *failing) request(call int, after time.Duration) *policy.Failure {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.made[call]++
	f.at = append(f.at, after)
	return f.answer(call, f.made[call], after)
}

// longestGap is the longest time in which no request arrived.
func (f *failing) longestGap() (gap time.Duration) {
	for i := range f.at[1:] {
		gap = max(gap, f.at[i+1]-f.at[i])
	}
	return gap
}

// run makes the calls with a worker on a simulated clock, and returns their results and how
// long it took. All of worker, asynq and scripts is real.
func (f *failing) run(t *testing.T, p *policy.Policy, most time.Duration) (results []tasks.Result, took time.Duration) {
	t.Helper()
	client, _ := redistest.Mini(t)
	w, err := worker.New(worker.Config{Redis: client, Upstreams: []worker.Upstream{{Name: "api", Policy: p, Concurrency: 4, Idempotent: []string{"* *"}}}})
	if err != nil {
		t.Fatal(err)
	}
	f.made = map[int]int{}
	began := time.Now()
	err = worker.Handle(w, "api", func(_ context.Context, j *worker.Job[row]) (string, error) {
		failure := f.request(j.Args.N, time.Since(began))
		<-time.After(20 * time.Millisecond)
		if failure != nil {
			return "", failure
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(client, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	follow, err := tasks.NewClient(client, tasks.ClientConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range f.calls {
		if _, err := tasks.Enqueue(t.Context(), producer, row{i}, tasks.Options{Upstream: "api", Batch: "b", Key: fmt.Sprint(i)}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	for {
		b, err := follow.Batch(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		took = time.Since(began)
		if b.Counts.Open == 0 {
			break
		}
		if took > most {
			t.Errorf("%d of %d calls are open after %s", b.Counts.Open, f.calls, took)
			break
		}
		<-time.After(time.Second)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for r, err := range follow.Results(t.Context(), "b") {
		if err != nil {
			t.Fatal(err)
		}
		results = append(results, r)
	}
	return results, took
}

// threeAttempts is the preset http with three attempts.
func threeAttempts(t *testing.T) *policy.Policy {
	return parse(t, "version: 1\nname: three\nextends: http\nbackoffs:\n  standard: {floor: 1s, base: 2s, cap: 10m, attempts: 3, sources: [retry-after]}\n")
}

func wantStates(t *testing.T, results []tasks.Result, want map[tasks.State]int) {
	t.Helper()
	got := map[tasks.State]int{}
	for _, r := range results {
		got[r.State]++
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the calls ended as %v, want %v", got, want)
	}
}

// probeEvery is the longest time between two probes of an outage, with what the queue and
// the slowest backoff of a second attempt add.
const probeEvery = 8 * time.Second

func TestWhereEachCallFailsTwiceTheLadderOfTheOutageIsNotClimbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{calls: 60, answer: func(_, nth int, _ time.Duration) *policy.Failure {
			return []*policy.Failure{{Status: 503}, {Status: 502}, nil}[min(nth, 3)-1]
		}}
		results, took := f.run(t, threeAttempts(t), 5*time.Minute)
		wantStates(t, results, map[tasks.State]int{tasks.StateDone: f.calls})
		if gap := f.longestGap(); gap > probeEvery {
			t.Errorf("no request for %s; all took %s", gap, took)
		}
	})
}

func TestALongOutageUsesUpNoCallsAttemptsAndEndsWithTheNextProbe(t *testing.T) {
	const outage = 6 * time.Minute
	synctest.Test(t, func(t *testing.T) {
		f := &failing{calls: 25, answer: func(_, _ int, after time.Duration) *policy.Failure {
			if after < outage {
				return &policy.Failure{Status: 503}
			}
			return nil
		}}
		results, took := f.run(t, threeAttempts(t), time.Hour)
		wantStates(t, results, map[tasks.State]int{tasks.StateDone: f.calls})
		if gap := f.longestGap(); gap > probeEvery || took > outage+15*time.Second {
			t.Errorf("no request for %s; all took %s, want %s and a moment", gap, took, outage)
		}
	})
}

func TestCallsWithAFaultOfTheirOwnEndSoonThoughOnlyTheyAreLeft(t *testing.T) {
	const bad = 25
	synctest.Test(t, func(t *testing.T) {
		f := &failing{calls: 4 * bad, answer: func(call, _ int, _ time.Duration) *policy.Failure {
			if call%4 == 0 {
				return &policy.Failure{Status: 500}
			}
			return nil
		}}
		results, _ := f.run(t, threeAttempts(t), 10*time.Minute)
		wantStates(t, results, map[tasks.State]int{tasks.StateDone: 3 * bad, tasks.StateDead: bad})
		for _, r := range results {
			if r.State == tasks.StateDead && r.Attempts != 3 {
				t.Errorf("%s ended after %d attempts, want 3", r.Key, r.Attempts)
			}
		}
	})
}

func TestNoProbeOfAnOutageStartsBeforeTheTimeThatTheServerGave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{calls: 25, answer: func(_, nth int, after time.Duration) *policy.Failure {
			switch {
			case after < 4*time.Second:
				return &policy.Failure{Status: 503}
			case after < 30*time.Second:
				return &policy.Failure{Status: 503, RetryAfter: time.Minute}
			}
			return nil
		}}
		results, _ := f.run(t, threeAttempts(t), 5*time.Minute)
		wantStates(t, results, map[tasks.State]int{tasks.StateDone: f.calls})
		told := 0
		for i, at := range f.at {
			if told > 0 && at < f.at[told]+time.Minute {
				t.Errorf("a request arrived at %s, though the probe at %s was told to wait for a minute", at, f.at[told])
			}
			if told == 0 && at >= 4*time.Second {
				told = i
			}
		}
		if told == 0 {
			t.Error("no probe was told a time")
		}
	})
}
