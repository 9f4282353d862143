package main

import (
	"context"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// abandonAfter is how long a command that does not drain may take to end after it was
// interrupted.
const abandonAfter = 2 * time.Second

// signals turns SIGINT, SIGTERM and SIGQUIT into an orderly end. The first signal cancels
// the command's context. A command that drains then finishes its inflight calls, however
// long that takes. The second signal ends the program at once.
//
// SIGHUP means that the terminal was closed. It can be the first signal, but never the
// second, because shells send it twice. A command may use it to reload; see reloads.
// SIGXCPU, the limit of CPU time, can also only be the first signal, because it is sent
// again every second. On Windows these signals do not exist.
//
// A write to a pipe without a reader, and one beyond the limit of a file's size,
// return an error and do not end the program.
type signals struct {
	arrived  chan os.Signal
	hangups  chan os.Signal
	limits   chan os.Signal
	pipes    chan os.Signal // it is never read: see listen
	draining atomic.Bool
	notice   func()
	// cut, unless nil, is called when a second signal ends the program.
	cut atomic.Pointer[func()]
	// reload, unless nil, receives each SIGHUP.
	reload atomic.Pointer[chan struct{}]
}

func listen() *signals {
	s := &signals{
		arrived: make(chan os.Signal, 2), hangups: make(chan os.Signal, 1),
		limits: make(chan os.Signal, 1), pipes: make(chan os.Signal, 1),
	}
	signal.Notify(s.arrived, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	// With this, a write to a closed stdout or stderr returns EPIPE. Otherwise it would
	// kill the process in the middle of its calls. See package os/signal.
	signal.Notify(s.pipes, syscall.SIGPIPE)
	s.notifyLimits()
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
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

// reloads returns a channel that receives each SIGHUP from now on; several in a row may be
// received once. SIGHUP no longer ends the program.
func (s *signals) reloads() <-chan struct{} {
	reload := make(chan struct{}, 1)
	s.reload.Store(&reload)
	signal.Notify(s.hangups, syscall.SIGHUP)
	return reload
}

// endsOnHangup reports whether a SIGHUP ends the program. If not, it passes the signal to
// reload.
func (s *signals) endsOnHangup() bool {
	reload := s.reload.Load()
	if reload == nil {
		return true
	}
	select {
	case *reload <- struct{}{}:
	default:
	}
	return false
}

// drain sets that the command finishes its inflight calls when its context is cancelled.
// notice is called when that begins. It may be nil.
func (s *signals) drain(notice func()) {
	s.notice = notice
	s.draining.Store(true)
}

// onCut sets a function that is called when a second signal ends the program at once; nil
// removes it. The function must not wait: what it waits for may be the reason why the
// program does not end.
func (s *signals) onCut(say func()) {
	if say == nil {
		s.cut.Store(nil)
		return
	}
	s.cut.Store(&say)
}

// guard runs work. After a signal, it returns exitFailed if work does not end: after a second
// signal, or after abandonAfter if the command does not drain.
func (s *signals) guard(ctx context.Context, work func(context.Context) int) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan int, 1)
	go func() { done <- work(ctx) }()
	for ending := false; !ending; {
		select {
		case status := <-done:
			return status
		case <-s.arrived:
			ending = true
		case <-s.hangups:
			ending = s.endsOnHangup()
		case <-s.limits:
			ending = true
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
