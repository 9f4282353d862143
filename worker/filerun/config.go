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

// Config configures a run. Required are In, Worker.Upstreams, Redis (Worker.Redis or
// Connect), and a place for the results (Out or Writer).
type Config struct {
	// In has the calls. Run reads it and does not close it.
	In *Input
	// Out is the path of the results file. Run locks it. A run with the same Out
	// continues where the previous one ended. OUT.sent and OUT.old.jsonl are written
	// beside it.
	Out string
	// Writer receives the results if Out is empty. Then only Redis remembers previous
	// runs.
	Writer io.Writer
	// Worker makes the calls. Run sets its Journal and OnLarge.
	Worker worker.Config
	// Connect opens Redis if Worker.Redis is nil. It is called at most once, and not if
	// every call has a result. The caller of Run closes the connection. If Connect
	// returns an [InputError], the run ends even if no call is open.
	Connect func(context.Context) (Backend, error)
	// DropBodies frees the bodies of results from Redis after the results file was synced
	// to disk. Large bodies are always freed.
	DropBodies bool
	// First limits the run to the first calls of In; 0 means all.
	First int
	// Redo lists the states whose calls are made again: dead, dropped, cancelled.
	Redo []tasks.State
	// RedoCalls lists calls that are made again in any state, also done.
	RedoCalls []CallRef
	// Patience is how long a circuit that only a person can close, as after a refused
	// credential, may stay open while no other call can be made. After that Run returns
	// a [StuckError]. 0 means no limit.
	Patience time.Duration
	// SameAPI continues although results, or calls in Redis, were made with another base
	// URL, and records the current one for them.
	SameAPI bool
	// CommandFlags are the flags with which a callq command finds the same Redis, such
	// as " --redis URL". They are appended to the commands in a [CallsWait].
	CommandFlags string
	// OnEvent is called for each event, one at a time. It should return soon: no results
	// are written meanwhile. Defaults to none. Worker.OnAttempt receives the result of each
	// attempt.
	OnEvent func(Event)
}

// Backend is the Redis with the queue.
type Backend struct {
	Redis redis.UniversalClient
	// Volatile reports that its content is lost when the process ends. A non-idempotent
	// call is then sent only after it was recorded in the journal.
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

// validateInput checks the fields that Run and Forecast both use.
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

// redo returns Redo as a set.
func (c Config) redo() map[tasks.State]bool {
	set := map[tasks.State]bool{}
	for _, s := range c.Redo {
		set[s] = true
	}
	return set
}

// baseURLs returns the base URLs of the upstreams.
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
