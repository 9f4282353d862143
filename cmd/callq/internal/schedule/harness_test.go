package schedule

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy/calendar"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// fleet is workers that share a Redis, a clock, a log and a schedule.
type fleet struct {
	t        *testing.T
	rdb      *redis.Client
	log      logged
	schedule Schedule

	mu  sync.Mutex
	now time.Time
}

// newFleet has a schedule "nightly" at the full hours, whose file holds three
// calls, and a clock that stands at half past one.
func newFleet(t *testing.T, rdb *redis.Client) *fleet {
	t.Helper()
	f := &fleet{t: t, rdb: rdb, now: at("01:30:00")}
	f.schedule = Schedule{Name: "nightly", Calendar: f.calendar("0 * * * *"), File: filepath.Join(t.TempDir(), "calls.jsonl")}
	f.write(calls(3))
	return f
}

// at is a time of the day on which the tests take place.
func at(clock string) time.Time {
	at, err := time.Parse(time.RFC3339, "2026-05-04T"+clock+"Z")
	if err != nil {
		panic(err)
	}
	return at
}

func (f *fleet) calendar(cron string) *calendar.Calendar {
	f.t.Helper()
	c, err := calendar.New(cron, "UTC")
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

func calls(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"path\":\"/%d\"}\n", i)
	}
	return b.String()
}

func (f *fleet) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.schedule.File, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) set(clock string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = at(clock)
}

func (f *fleet) clock(context.Context) (time.Time, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now, nil
}

// worker is one that has a client of its own where one is given.
func (f *fleet) worker(rdb *redis.Client) *keeper {
	f.t.Helper()
	return newKeeper(f.config(rdb), f.schedule)
}

func (f *fleet) config(rdb *redis.Client) Config {
	f.t.Helper()
	if rdb == nil {
		rdb = f.rdb
	}
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}}
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{Rules: rules})
	if err != nil {
		f.t.Fatal(err)
	}
	return Config{
		Redis: rdb, Producer: producer, Rules: rules, Schedules: []Schedule{f.schedule}, Who: "worker",
		Logger: slog.New(slog.NewTextHandler(&f.log, nil)), Now: f.clock,
	}
}

// settle looks with every worker, all at once, until none has anything to do.
func (f *fleet) settle(workers ...*keeper) {
	f.t.Helper()
	var wg sync.WaitGroup
	for _, k := range workers {
		wg.Go(func() {
			deadline := time.Now().Add(time.Minute)
			for {
				wait, err := k.step(f.t.Context())
				if err != nil {
					f.t.Error(err)
					return
				}
				if wait > askAgain {
					return
				}
				if time.Now().After(deadline) {
					f.t.Error("a worker never comes to rest")
					return
				}
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	if f.t.Failed() {
		f.t.Fatalf("log:\n%s", f.log.String())
	}
}

func (f *fleet) state() State {
	f.t.Helper()
	st, err := Read(f.t.Context(), f.rdb, f.schedule)
	if err != nil {
		f.t.Fatal(err)
	}
	return st
}

// batches are the names of all batches with their numbers of calls.
func (f *fleet) batches() string {
	f.t.Helper()
	batches, err := ledger.New(f.rdb).Batches(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	var list []string
	for _, b := range batches {
		list = append(list, fmt.Sprintf("%s=%d", b.Name, b.Counts.Accepted))
		found, err := ledger.New(f.rdb).Audit(f.t.Context(), b.Name, tasks.TaskID)
		if err != nil || len(found) > 0 {
			f.t.Errorf("the books of %s: %v, %v", b.Name, found, err)
		}
	}
	return strings.Join(list, " ")
}

func (f *fleet) wantBatches(want string) {
	f.t.Helper()
	if got := f.batches(); got != want {
		f.t.Errorf("batches %q, want %q; log:\n%s", got, want, f.log.String())
	}
}

// wantLogged checks how often a text is in the log.
func (f *fleet) wantLogged(n int, text string) {
	f.t.Helper()
	if got := strings.Count(f.log.String(), text); got != n {
		f.t.Errorf("%q was logged %d times, want %d; log:\n%s", text, got, n, f.log.String())
	}
}

type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// cut is the wire of one worker, which may be cut. One command at a time passes.
type cut struct {
	redis.Hook
	// after is called after each command or pipeline, and cuts when it says so.
	after func() bool

	mu sync.Mutex
	is bool
}

var errCut = errors.New("the wire is cut")

func (c *cut) set(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.is = is
}

func (c *cut) pass(cmds []redis.Cmder, next func() error) error {
	switch cmds[0].Name() {
	case "hello", "client", "select": // a new connection's, within another command
		return next()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.is {
		for _, cmd := range cmds {
			cmd.SetErr(errCut)
		}
		return errCut
	}
	err := next()
	c.is = c.after != nil && c.after()
	return err
}

func (c *cut) DialHook(next redis.DialHook) redis.DialHook { return next }

func (c *cut) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		return c.pass([]redis.Cmder{cmd}, func() error { return next(ctx, cmd) })
	}
}

func (c *cut) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		return c.pass(cmds, func() error { return next(ctx, cmds) })
	}
}

// wired is a client of the same server with a wire of its own.
func (f *fleet) wired(c *cut) *redis.Client {
	options := *f.rdb.Options()
	client := redis.NewClient(&options)
	client.AddHook(c)
	f.t.Cleanup(func() { _ = client.Close() })
	return client
}
