// Package supervisor runs a worker, and replaces it with one that has another
// configuration. There is no gap: the new one runs before the old one drains.
//
//	s := supervisor.Start(ctx, first, supervisor.Config[*instance]{Load: load, Installed: installed, Refused: refused})
//	for {
//		select {
//		case <-hangups:
//			s.Reload(ctx)
//		case err := <-s.Ended():
//			s.Wait()
//			return err
//		}
//	}
//
// It does not depend on what an instance does, and prints nothing: it reports to the
// functions of its [Config].
//
//	           Reload: Load, Run                 it still runs after a second
//	[current] -------------------> [both run] -------------------------------> [the new one is current]
//	    ^                              |                                           the old one drains
//	    +------------------------------+
//	      the new one ended: Refused
package supervisor

import (
	"context"
	"errors"
	"sync"
	"time"
)

// probation is how long a new instance must run before it replaces the old one.
const probation = time.Second

// ErrEnded is passed to [Config.Refused] if a new instance ended at once without an error.
var ErrEnded = errors.New("the new worker ended at once")

// Instance is a worker with one configuration. Run drains when ctx ends, and returns nil
// after a drain.
type Instance interface {
	Run(ctx context.Context) error
}

// Config is what a supervisor calls. All functions are called one at a time by the
// goroutine that calls Start or Reload, except Drained.
type Config[I Instance] struct {
	// Load makes an instance from the present configuration, and does not start it.
	// current is the current instance.
	Load func(ctx context.Context, current I) (I, error)
	// Installed is called when an instance has become the current one, before the old
	// one drains. For the first instance, before is the zero value.
	Installed func(ctx context.Context, before, now I)
	// Refused is called when a reload failed and nothing was changed.
	Refused func(err error)
	// Drained is called in its own goroutine when a replaced instance has ended.
	Drained func(old I, err error)
}

// Supervisor runs the current instance. Its methods are not safe for concurrent use.
type Supervisor[I Instance] struct {
	cfg      Config[I]
	current  running[I]
	draining sync.WaitGroup
}

// running is an instance that runs. stop ends it, and ended receives the error of Run.
type running[I Instance] struct {
	instance I
	stop     context.CancelFunc
	ended    chan error
}

// Start runs the first instance. All instances drain when ctx ends.
func Start[I Instance](ctx context.Context, first I, cfg Config[I]) *Supervisor[I] {
	s := &Supervisor[I]{cfg: cfg, current: run(ctx, first)}
	var none I
	cfg.Installed(ctx, none, first)
	return s
}

func run[I Instance](ctx context.Context, i I) running[I] {
	ctx, stop := context.WithCancel(ctx)
	r := running[I]{instance: i, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- i.Run(ctx) }()
	return r
}

// Current returns the current instance.
func (s *Supervisor[I]) Current() I { return s.current.instance }

// Ended receives the error with which the current instance ends, nil after a drain.
func (s *Supervisor[I]) Ended() <-chan error { return s.current.ended }

// Reload replaces the current instance with a new one. If the new one cannot be made, or
// ends within a second, nothing changes. ctx must be that of Start.
func (s *Supervisor[I]) Reload(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	next, err := s.cfg.Load(ctx, s.current.instance)
	if err != nil {
		s.refuse(ctx, err)
		return
	}
	now := run(ctx, next)
	passed := time.NewTimer(probation)
	defer passed.Stop()
	select {
	case err := <-now.ended:
		now.stop()
		if err == nil {
			err = ErrEnded
		}
		s.refuse(ctx, err)
		return
	case <-ctx.Done():
		s.drain(now) // both drain
		return
	case <-passed.C:
	}
	before := s.current
	s.current = now
	s.cfg.Installed(ctx, before.instance, now.instance)
	s.drain(before)
}

// refuse reports a failed reload, unless it failed because everything is draining.
func (s *Supervisor[I]) refuse(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.cfg.Refused(err)
	}
}

// drain makes an instance drain, without waiting. Wait waits for it.
func (s *Supervisor[I]) drain(r running[I]) {
	r.stop()
	s.draining.Go(func() { s.cfg.Drained(r.instance, <-r.ended) })
}

// Wait waits until all instances that were replaced have ended.
func (s *Supervisor[I]) Wait() { s.draining.Wait() }
