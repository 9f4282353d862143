package tasks_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func seq(calls ...tasks.Call) iter.Seq2[tasks.Call, error] {
	return func(yield func(tasks.Call, error) bool) {
		for _, c := range calls {
			if !yield(c, nil) {
				return
			}
		}
	}
}

// numbered yields n calls with distinct paths.
func numbered(n int) iter.Seq2[tasks.Call, error] {
	return func(yield func(tasks.Call, error) bool) {
		for i := range n {
			if !yield(tasks.Call{Upstream: "api", Path: fmt.Sprintf("/item/%d", i)}, nil) {
				return
			}
		}
	}
}

func TestTheFirstOfTwoLinesWithOneKeyWins(t *testing.T) {
	rdb := redistest.Redis(t).Client // miniredis is slow with so many
	p := producer(t, rdb, tasks.Rules{})
	calls := func(yield func(tasks.Call, error) bool) {
		for i := range 1500 { // over several chunks
			key, path := fmt.Sprint(i), fmt.Sprintf("/%d", i)
			switch i {
			case 700:
				key = "3" // with other content
			case 1400:
				key, path = "5", "/5" // with the same
			}
			if !yield(tasks.Call{Key: key, Upstream: "api", Path: path}, nil) {
				return
			}
		}
	}
	sum, err := p.SubmitAll(t.Context(), "b", calls)
	if err != nil || sum.Accepted != 1498 || sum.Duplicate != 1 || sum.Refused != 1 {
		t.Fatalf("got %+v, %v", sum, err)
	}
	if bad := sum.Errors[0]; bad.Line != 701 || bad.Field != "key" || !strings.Contains(bad.Error(), `"3"`) {
		t.Fatalf("refused %v", bad)
	}
	r, err := ledger.New(rdb).Get(t.Context(), "api", tasks.TaskID("b", "3"))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := records.Call(&r); err != nil || c.Path != "/3" {
		t.Fatalf("key 3 stands for %s, %v", c.Path, err)
	}
	audit(t, rdb, "b")
}

func TestARefusedLineDoesNotStopASend(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}}
		p := producer(t, rdb, rules)
		file := strings.Join([]string{
			`{"path":"/1","key":"k"}`, ``, `not json`, `{"path":"/4","key":"k"}`, `{"path":"//host"}`, `{"path":"/1","key":"k"}`, `{"path":"/7"}`,
		}, "\n")
		var refusedLines []int
		send := func() tasks.Summary {
			refusedLines = nil
			sum, err := p.SubmitLines(t.Context(), "b", tasks.ReadCalls(strings.NewReader(file), tasks.ReadOptions{Rules: rules}),
				func(bad *tasks.FieldError) { refusedLines = append(refusedLines, bad.Line) })
			if err != nil {
				t.Fatal(err)
			}
			return sum
		}
		if sum := send(); sum.Accepted != 2 || sum.Duplicate != 1 || sum.Refused != 3 || fmt.Sprint(refusedLines) != "[3 5 4]" {
			t.Fatalf("got %+v, refused lines %v", sum, refusedLines)
		}
		if sum := send(); sum.Accepted != 0 || sum.Duplicate != 3 || sum.Refused != 3 {
			t.Fatalf("sent again: %+v", sum)
		}
		if c := counts(t, rdb, "b"); c.Accepted != 2 {
			t.Fatalf("counts %+v", c)
		}
	})
}

func TestABadBatchNameIsRefusedBeforeAnythingIsRead(t *testing.T) {
	p := producer(t, redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), tasks.Rules{})
	_, err := p.SubmitAll(t.Context(), "a\nb", func(func(tasks.Call, error) bool) { t.Error("read") })
	var bad *tasks.FieldError
	if !errors.As(err, &bad) || bad.Field != "batch" {
		t.Fatal(err)
	}
}

func TestAnErrorOfTheSourceStopsASendAndAcceptedCallsStay(t *testing.T) {
	rdb := redistest.Redis(t).Client
	p := producer(t, rdb, tasks.Rules{})
	broken := errors.New("disk on fire")
	_, err := p.SubmitAll(t.Context(), "b", func(yield func(tasks.Call, error) bool) {
		for c, err := range numbered(1200) {
			if !yield(c, err) {
				return
			}
		}
		yield(tasks.Call{}, broken)
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	if sum, err := p.SubmitAll(t.Context(), "b", numbered(1200)); err != nil || sum.Accepted+sum.Duplicate != 1200 || sum.Duplicate == 0 {
		t.Fatalf("got %+v, %v", sum, err)
	}
	audit(t, rdb, "b")
}

// flaky fails every nth script, before or after Redis has run it.
type flaky struct {
	mu    sync.Mutex
	n     int
	every int
	after bool
}

var errFlaky = errors.New("connection reset by peer")

func (*flaky) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*flaky) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (f *flaky) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if cmd.Name() != "evalsha" {
			return next(ctx, cmd)
		}
		f.mu.Lock()
		f.n++
		fail := f.every > 0 && f.n%f.every == 0
		f.mu.Unlock()
		if !fail {
			return next(ctx, cmd)
		}
		if f.after {
			_ = next(ctx, cmd) // its reply is lost
		}
		cmd.SetErr(errFlaky)
		return errFlaky
	}
}

func TestASendThatFailedOnRedisIsCompletedByTheNextSends(t *testing.T) {
	for name, after := range map[string]bool{"requests lost": false, "replies lost": true} {
		t.Run(name, func(t *testing.T) {
			rdb := redistest.Redis(t).Client // miniredis is slow with so many
			const n = 3000
			fault := &flaky{every: 5, after: after}
			rdb.AddHook(fault)
			p := producer(t, rdb, tasks.Rules{})
			failed := 0
			for try := 1; ; try++ {
				sum, err := p.SubmitAll(t.Context(), "b", numbered(n))
				if err == nil {
					if sum.Accepted+sum.Duplicate != n || sum.Refused != 0 {
						t.Fatalf("got %+v", sum)
					}
					break
				}
				failed++
				if !errors.Is(err, errFlaky) || try > 50 {
					t.Fatal(err)
				}
				if try == 5 { // the errors end
					fault.mu.Lock()
					fault.every = 0
					fault.mu.Unlock()
				}
			}
			if failed == 0 {
				t.Fatal("no send failed")
			}
			if c := counts(t, rdb, "b"); c.Accepted != n || c.Open != n {
				t.Fatalf("counts %+v", c)
			}
			if pending := rdb.LLen(t.Context(), "asynq:{api}:pending").Val(); pending != n {
				t.Fatalf("got %d pending tasks", pending)
			}
			audit(t, rdb, "b")
		})
	}
}

func TestASendWhoseLastStepFailsOnRedisReturnsTheError(t *testing.T) {
	for failing, script := range []string{"the claim of the keys", "the acceptance"} {
		redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
			p := producer(t, rdb, tasks.Rules{})
			// All calls are in one step, so that nothing is read after the failure.
			if _, err := p.SubmitAll(t.Context(), "before", numbered(1)); err != nil {
				t.Fatal(err)
			}
			rdb.AddHook(&flaky{every: failing + 1})
			sum, err := p.SubmitAll(t.Context(), "b", numbered(2))
			if !errors.Is(err, errFlaky) || sum.Accepted != 0 {
				t.Errorf("after %s failed: %+v, %v; want the error and no call accepted", script, sum, err)
			}
		})
	}
}

func TestACancelledSendReturnsTheError(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{})
		ctx, cancel := context.WithCancel(t.Context())
		_, err := p.SubmitAll(ctx, "b", func(yield func(tasks.Call, error) bool) {
			for c, err := range numbered(5000) {
				if c.Path == "/item/1000" {
					cancel()
				}
				if !yield(c, err) {
					return
				}
			}
		})
		if !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	})
}
