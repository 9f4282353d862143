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

// signals turns SIGINT, SIGTERM and SIGQUIT into an orderly end. The first cancels
// the command's context: a command that drains then finishes what is in flight,
// however long that takes. The second ends the program at once.
//
// SIGHUP says that the terminal was closed and is a first signal too, but never a
// second: shells send it once more. A command may have another use for it; see
// reloads. SIGXCPU, the limit of CPU time, is a first signal too and comes again
// every second. Where there are no such signals, as on Windows, they never come.
//
// A write to a pipe without a reader, and one beyond the limit of a file's size,
// return an error and do not end the program.
type signals struct {
	arrived  chan os.Signal
	hangups  chan os.Signal
	limits   chan os.Signal
	pipes    chan os.Signal // nobody reads it: see listen
	draining atomic.Bool
	notice   func()
	// cut, once it is there, says what a second signal cuts short.
	cut atomic.Pointer[func()]
	// reload, once it is there, is told of SIGHUP.
	reload atomic.Pointer[chan struct{}]
}

func listen() *signals {
	s := &signals{
		arrived: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1),
		limits: make(chan os.Signal, 1), pipes: make(chan os.Signal, 1),
	}
	signal.Notify(s.arrived, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	// Who asks for SIGPIPE gets EPIPE from a write to stdout or stderr as well; else
	// the process would die in the midst of its calls. See the package os/signal.
	signal.Notify(s.pipes, syscall.SIGPIPE)
	s.notifyLimits()
	if !signal.Ignored(syscall.SIGHUP) { // as it is under nohup
		signal.Notify(s.hangups, syscall.SIGHUP)
	}
	return s
}

func (s *signals) close() {
	signal.Stop(s.arrived)
	signal.Stop(s.hangups)
	signal.Stop(s.limits)
	signal.Stop(s.pipes)
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
		case <-s.limits:
			told = true
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
