package filerun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// Config configures a run. In, Worker.Upstreams and a Redis are required, and a place
// for the results: Out or Writer.
type Config struct {
	// In are the calls. Run reads them and does not close them.
	In *Input
	// Out is the path of the results file. It is locked, and a run with the same Out
	// goes on where one before it ended. OUT.sent and OUT.old.jsonl stand beside it.
	Out string
	// Writer takes the results where Out is empty. Such a run remembers nothing but
	// what Redis does.
	Writer io.Writer
	// Worker makes the calls. Run sets its Journal and OnLarge.
	Worker worker.Config
	// Connect opens Redis where Worker.Redis is nil. It is called once, and not at all
	// where every call has its result. Whoever calls Run closes what it opened. An
	// [InputError] ends the run even where no call is open.
	Connect func(context.Context) (Backend, error)
	// DropBodies frees the bodies of results from Redis once the results file is safe on
	// its disk. Large bodies are freed in any case.
	DropBodies bool
	// First bounds the run to the first calls of In; 0: all.
	First int
	// Redo are the states whose calls are made again: dead, dropped, cancelled.
	Redo []tasks.State
	// RedoCalls are calls that are made again whatever their state is, done ones too.
	RedoCalls []CallRef
	// Patience is how long a circuit may stay open that only a person can close, as for
	// a refused credential, while no other call can be made, before Run returns a
	// [StuckError]; 0: for ever.
	Patience time.Duration
	// SameAPI goes on though results, or calls in Redis, were made with another base
	// URL, and remembers the one of now for them.
	SameAPI bool
	// CommandFlags is what a callq command needs to find the same Redis, as in
	// " --redis URL": the commands that a [CallsWait] names end with it.
	CommandFlags string
	// OnEvent is called with what happens, one event at a time. It should return soon:
	// results are not written meanwhile. Defaults to none. What becomes of each attempt
	// is told to Worker.OnEvent.
	OnEvent func(Event)
}

// Backend is the Redis that holds the queue.
type Backend struct {
	Redis redis.UniversalClient
	// Volatile reports that what it holds is gone when the process ends: then a call
	// that must not be made twice is sent only once the journal has it.
	Volatile bool
}

func (c Config) withDefaults() Config {
	c.Worker.Concurrency = cmp.Or(c.Worker.Concurrency, worker.DefaultConcurrency)
	c.Worker.Retention = cmp.Or(c.Worker.Retention, worker.DefaultRetention)
	c.Worker.MaxMemory = cmp.Or(c.Worker.MaxMemory, worker.DefaultMaxMemory)
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if client := c.Worker.Redis; client != nil {
		c.Connect = func(context.Context) (Backend, error) { return Backend{Redis: client}, nil }
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	if c.In == nil {
		errs = append(errs, errors.New("filerun.Config: In is missing"))
	}
	if c.Out == "" && c.Writer == nil {
		errs = append(errs, errors.New("filerun.Config: Out and Writer are both missing"))
	}
	if c.Worker.Redis == nil && c.Connect == nil {
		errs = append(errs, errors.New("filerun.Config: Worker.Redis and Connect are both missing"))
	}
	if len(c.Worker.Upstreams) == 0 {
		errs = append(errs, errors.New("filerun.Config: Worker.Upstreams is empty: name at least one API"))
	}
	return errors.Join(append(errs, c.validateInput())...)
}

// validateInput checks what a forecast needs too.
func (c Config) validateInput() error {
	var errs []error
	if c.First < 0 {
		errs = append(errs, fmt.Errorf("filerun.Config: First is %d; it must be at least 0", c.First))
	}
	if c.Patience < 0 {
		errs = append(errs, fmt.Errorf("filerun.Config: Patience is %s; it must be at least 0", c.Patience))
	}
	for _, s := range c.Redo {
		switch s {
		case tasks.StateDead, tasks.StateDropped, tasks.StateCancelled:
		default:
			errs = append(errs, fmt.Errorf("filerun.Config: Redo has %q; it may have dead, dropped and cancelled", s))
		}
	}
	return errors.Join(errs...)
}

// redo are the states whose calls are made again, as a set.
func (c Config) redo() map[tasks.State]bool {
	set := map[tasks.State]bool{}
	for _, s := range c.Redo {
		set[s] = true
	}
	return set
}

// baseURLs are those of the upstreams.
func (c Config) baseURLs() baseurl.Set {
	set := baseurl.Set{}
	for _, u := range c.Worker.Upstreams {
		base := u.BaseURL
		if base == "" && u.Policy != nil {
			base = u.Policy.Upstream().BaseURL
		}
		if base != "" {
			set[u.Name] = baseurl.Canonical(base)
		}
	}
	return set
}
