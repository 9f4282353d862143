package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// abandonAfter is how long a command that does not drain may take to end once
// it was interrupted.
const abandonAfter = 2 * time.Second

// signals turns SIGINT and SIGTERM into an orderly end. The first cancels the
// command's context: a command that drains then finishes what is in flight,
// however long that takes. The second ends the program at once.
type signals struct {
	arrived  chan os.Signal
	draining atomic.Bool
	notice   func()
}

func listen() *signals {
	s := &signals{arrived: make(chan os.Signal, 2)}
	signal.Notify(s.arrived, os.Interrupt, syscall.SIGTERM)
	return s
}

func (s *signals) close() { signal.Stop(s.arrived) }

// drain says that the command finishes what is in flight when its context is
// cancelled. notice is called once that begins, to tell the user; it may be nil.
func (s *signals) drain(notice func()) {
	s.notice = notice
	s.draining.Store(true)
}

// guard runs work, and leaves it behind with exitFailed when it was told to end
// and does not: after a second signal, or in its time where it does not drain.
func (s *signals) guard(ctx context.Context, work func(context.Context) int) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- work(ctx) }()
	select {
	case status := <-done:
		return status
	case <-s.arrived:
	}
	cancel()
	var late <-chan time.Time
	if s.draining.Load() {
		if s.notice != nil {
			s.notice()
		}
	} else {
		timer := time.NewTimer(abandonAfter)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case status := <-done:
		return status
	case <-s.arrived:
	case <-late:
	}
	return exitFailed
}
