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
//
// SIGHUP says that the terminal was closed and is a first signal too, but never a
// second: shells send it once more. A command may have another use for it; see
// reloads. Where there is no such signal, as on Windows, it never comes.
type signals struct {
	arrived  chan os.Signal
	hangups  chan os.Signal
	draining atomic.Bool
	notice   func()
	// cut, once it is there, says what a second signal cuts short.
	cut atomic.Pointer[func()]
	// reload, once it is there, is told of SIGHUP.
	reload atomic.Pointer[chan struct{}]
}

func listen() *signals {
	s := &signals{arrived: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1)}
	signal.Notify(s.arrived, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signal.Notify(s.hangups, syscall.SIGHUP)
	}
	return s
}

func (s *signals) close() {
	signal.Stop(s.arrived)
	signal.Stop(s.hangups)
}

// reloads tells of each SIGHUP from now on, or once of several in a row; they do
// not end the program any more.
func (s *signals) reloads() <-chan struct{} {
	told := make(chan struct{}, 1)
	s.reload.Store(&told)
	signal.Notify(s.hangups, syscall.SIGHUP)
	return told
}

// hungUp passes a SIGHUP on, and tells whether nobody else has a use for it.
func (s *signals) hungUp() bool {
	told := s.reload.Load()
	if told == nil {
		return true
	}
	select {
	case *told <- struct{}{}:
	default:
	}
	return false
}

// drain says that the command finishes what is in flight when its context is
// cancelled. notice is called once that begins, to tell the user; it may be nil.
func (s *signals) drain(notice func()) {
	s.notice = notice
	s.draining.Store(true)
}

// cuts has say called when a second signal ends the program while work goes on;
// nil takes that back. It must not wait for anything that may be what keeps the
// program from ending.
func (s *signals) cuts(say func()) {
	if say == nil {
		s.cut.Store(nil)
		return
	}
	s.cut.Store(&say)
}

// guard runs work, and leaves it behind with exitFailed when it was told to end
// and does not: after a second signal, or in its time where it does not drain.
func (s *signals) guard(ctx context.Context, work func(context.Context) int) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- work(ctx) }()
	for told := false; !told; {
		select {
		case status := <-done:
			return status
		case <-s.arrived:
			told = true
		case <-s.hangups:
			told = s.hungUp()
		}
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
		if say := s.cut.Load(); say != nil {
			(*say)()
		}
	case <-late:
	}
	return exitFailed
}
