package worker_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

const pacedPolicy = `version: 1
name: paced
extends: http
holds:
  quota: {sources: [retry-after, ladder], max: 25h, ladder: [1s]}
pace:
  - {remaining: "header x-remaining", reset: {from: "header x-reset", format: duration}}
`

// windowedAPI counts requests in fixed windows and says in every answer what is left. It
// refuses a request beyond its limit.
type windowedAPI struct {
	limit  int
	window time.Duration
	// latency is how long an answer takes.
	latency time.Duration
	// beside, if it is not 0, is the number of the worker's requests after which another
	// client of the account makes one.
	beside int

	mu            sync.Mutex
	own           int // requests of the worker
	ends          time.Time
	used          int
	full          []int // how much was used of each window before this one
	refused, most int   // by window: most is the highest number
	refusedNow    int
}

// count counts a request of the worker, and returns what is left, -1 if it is refused,
// and until when.
func (s *windowedAPI) count() (left int, reset time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.ends.IsZero() {
		s.ends = now.Add(s.window)
	}
	for !now.Before(s.ends) {
		s.full = append(s.full, s.used)
		s.ends, s.used, s.refusedNow = s.ends.Add(s.window), 0, 0
	}
	reset = s.ends.Sub(now)
	s.own++
	if s.beside > 0 && s.own%s.beside == 0 && s.used < s.limit {
		s.used++
	}
	if s.used >= s.limit {
		s.refused++
		s.refusedNow++
		s.most = max(s.most, s.refusedNow)
		return -1, reset
	}
	s.used++
	return s.limit - s.used, reset
}

func (s *windowedAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	left, reset := s.count()
	select {
	case <-time.After(s.latency):
	case <-r.Context().Done():
	}
	w.Header().Set("X-Remaining", fmt.Sprint(max(left, 0)))
	w.Header().Set("X-Reset", reset.String())
	if left < 0 {
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

// share returns how much of the limit was used, without the first window, in which the
// worker finds out, and the last one, in which the calls come to an end.
func (s *windowedAPI) share() (share float64, windows int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	used := 0
	for _, n := range s.full[1:] {
		used += n
	}
	return float64(used) / float64((len(s.full)-1)*s.limit), len(s.full) - 1
}

// serve returns an upstream with the API.
func (s *windowedAPI) serve(t *testing.T) worker.Upstream {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return worker.Upstream{Name: callqtest.Upstream, BaseURL: server.URL, Policy: parse(t, pacedPolicy), Concurrency: 16}
}

func submitNumbered(env *callqtest.Env, n int) {
	for i := range n {
		env.Submit(tasks.Call{Path: fmt.Sprintf("/%d", i), Batch: "b", Key: fmt.Sprint(i)})
	}
}

func TestTwoWorkersAreNotRefusedWhereAnAPIsLimitIsUsedUp(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		// How much of a window is used depends on the machine, and is proved on a clock of
		// the test's own in worker/limit.
		api := &windowedAPI{limit: 40, window: 1500 * time.Millisecond, latency: 20 * time.Millisecond}
		upstream := api.serve(t)
		env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{upstream}})
		second := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{upstream}})
		submitNumbered(env, 220)
		env.Start()
		second.Start()
		for _, r := range env.AwaitBatch("b") {
			if r.State != tasks.StateDone || r.Attempts != 1 || r.Parked != 0 {
				t.Errorf("%s ended %s after %d attempts, parked %d times", r.Key, r.State, r.Attempts, r.Parked)
			}
		}
		share, windows := api.share()
		t.Logf("%d windows: %.1f%% of the limit used, %d refused", windows, 100*share, api.refused)
		if api.refused > 0 {
			t.Errorf("%d calls were refused, want none", api.refused)
		}
		if windows < 3 {
			t.Errorf("all calls were made in %d windows: the limit was never used up, and the test proves nothing", windows)
		}
	})
}

func TestAWorkerBesideAnotherClientIsRefusedTwiceInAWindowAtMost(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		// At most 16 calls are under way at once. The other client makes one request for ten
		// of the worker's, however slow the machine is, and so at most two among them.
		api := &windowedAPI{limit: 40, window: 1500 * time.Millisecond, latency: 20 * time.Millisecond, beside: 10}
		env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{api.serve(t)}})
		submitNumbered(env, 120)
		env.Start()
		for _, r := range env.AwaitBatch("b") {
			if r.State != tasks.StateDone || r.Attempts != 1 {
				t.Errorf("%s ended %s after %d attempts", r.Key, r.State, r.Attempts)
			}
		}
		t.Logf("%d calls refused, %d at most in a window", api.refused, api.most)
		if api.most > 2 {
			t.Errorf("%d calls were refused in a window, want 2 at most", api.most)
		}
		if _, windows := api.share(); windows < 2 {
			t.Errorf("all calls were made in %d windows: the limit was never used up, and the test proves nothing", windows)
		}
	})
}

func TestAnAPIsLimitThatIsUsedUpIsALimitAndNoQuotaHold(t *testing.T) {
	t.Parallel()
	redistest.Each(t, func(t *testing.T, client *redis.Client) {
		t.Parallel()
		api := &windowedAPI{limit: 3, window: time.Hour}
		env := callqtest.New(t, worker.Config{Redis: client, Upstreams: []worker.Upstream{api.serve(t)}})
		submitNumbered(env, 10)
		env.Start()
		r := held(t, env)
		if r.State != circuit.Closed || r.LimitedBy != "limit" || r.LimitedText != "x-remaining of the API" || time.Until(r.Limited) < 59*time.Minute {
			t.Errorf("the account: got %+v, want it held by the limit for an hour", r)
		}
		if api.refused > 0 {
			t.Errorf("%d calls were refused, want 0", api.refused)
		}
		env.Stop()
	})
}

func TestAnAnswerWithoutAHeaderDoesNotSlowAPacedWorker(t *testing.T) {
	each(t, worker.Config{Upstreams: []worker.Upstream{{Name: callqtest.Upstream, Policy: parse(t, pacedPolicy)}}}, func(t *testing.T, env *callqtest.Env) {
		submitNumbered(env, 100)
		env.Start()
		for _, r := range env.AwaitBatch("b") {
			want(t, r, tasks.StateDone, policy.ClassOK, 1)
		}
	})
}

func TestTheAnswersOfAWorkerThatStopsAreReported(t *testing.T) {
	api := &windowedAPI{limit: 1000, window: time.Hour}
	each(t, worker.Config{Upstreams: []worker.Upstream{api.serve(t)}}, func(t *testing.T, env *callqtest.Env) {
		submitNumbered(env, 50)
		env.Start()
		env.AwaitBatch("b")
		env.Stop()
		if n := env.Redis().ZCard(t.Context(), "callq:{sim}:unanswered").Val(); n != 0 {
			t.Errorf("%d calls count as inflight after the worker stopped, want 0", n)
		}
	})
}
