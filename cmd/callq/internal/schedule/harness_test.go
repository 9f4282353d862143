package schedule

import (
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

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/policy/calendar"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// fleet is workers that share a Redis, a clock, a log and a schedule.
type fleet struct {
	t        *testing.T
	rdb      *redis.Client
	log      programtest.Log
	schedule Schedule

	mu  sync.Mutex
	now time.Time
}

// newFleet returns a fleet with a schedule "nightly" at every full hour, whose file has
// three calls. Its clock is at 01:30.
func newFleet(t *testing.T, rdb *redis.Client) *fleet {
	t.Helper()
	f := &fleet{t: t, rdb: rdb, now: at("01:30:00")}
	f.schedule = Schedule{Name: "nightly", Calendar: f.calendar("0 * * * *"), File: filepath.Join(t.TempDir(), "calls.jsonl")}
	f.write(calls(3))
	return f
}

// at returns a time on the day of the tests.
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

// worker returns a worker. It has its own Redis client if one is given.
func (f *fleet) worker(rdb *redis.Client) *runner {
	f.t.Helper()
	return newRunner(f.config(rdb), f.schedule)
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

// runUntilIdle runs the workers concurrently until none has anything to do.
func (f *fleet) runUntilIdle(workers ...*runner) {
	f.t.Helper()
	var wg sync.WaitGroup
	for _, w := range workers {
		wg.Go(func() {
			deadline := time.Now().Add(time.Minute)
			for {
				wait, err := w.step(f.t.Context())
				if err != nil {
					f.t.Error(err)
					return
				}
				if wait > lookAgain {
					return
				}
				if time.Now().After(deadline) {
					f.t.Error("a worker is still not idle after a minute")
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

// batches returns the names of all batches with their numbers of calls.
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
			f.t.Errorf("the audit of %s: got %v, %v", b.Name, found, err)
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

// cut is a hook that can cut one worker's connection. It passes one command at a time.
type cut struct {
	redis.Hook
	// after is called after each command or pipeline. If it returns true, the
	// connection is cut.
	after func() bool

	mu sync.Mutex
	is bool
}

var errCut = errors.New("the connection is cut")

func (c *cut) set(is bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.is = is
}

func (c *cut) pass(cmds []redis.Cmder, next func() error) error {
	switch cmds[0].Name() {
	case "hello", "client", "select": // sent by a new connection, within another command
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

// clientWith returns a client of the same server with its own connection.
func (f *fleet) clientWith(c *cut) *redis.Client {
	options := *f.rdb.Options()
	client := redis.NewClient(&options)
	client.AddHook(c)
	f.t.Cleanup(func() { _ = client.Close() })
	return client
}
