package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheFirstSignalLetsADrainingCommandFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{arrived: make(chan os.Signal, 2)}
		noticed := false
		s.drain(func() { noticed = true })
		s.arrived <- os.Interrupt
		status := s.guard(t.Context(), func(ctx context.Context) int {
			<-ctx.Done()
			time.Sleep(time.Hour) // in the bubble: the calls in flight
			return exitFailedCalls
		})
		if status != exitFailedCalls || !noticed {
			t.Errorf("got status %d, notice %v", status, noticed)
		}
	})
}

func TestTheSecondSignalEndsADrainingCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{arrived: make(chan os.Signal, 2)}
		s.drain(nil)
		s.arrived <- os.Interrupt
		s.arrived <- os.Interrupt
		stuck, said := make(chan struct{}), 0
		s.onCut(func() { t.Error("a function that was removed was called") })
		s.onCut(nil)
		s.onCut(func() { said++ })
		status := s.guard(t.Context(), func(context.Context) int {
			<-stuck
			return exitOK
		})
		close(stuck)
		if status != exitFailed || said != 1 {
			t.Errorf("got status %d and %d calls of the function", status, said)
		}
	})
}

func TestACommandThatDoesNotDrainEndsSoonAfterTheFirstSignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{arrived: make(chan os.Signal, 2)}
		s.arrived <- os.Interrupt
		stuck := make(chan struct{})
		began := time.Now()
		status := s.guard(t.Context(), func(context.Context) int {
			<-stuck
			return exitOK
		})
		close(stuck)
		if waited := time.Since(began); status != exitFailed || waited != abandonAfter {
			t.Errorf("status %d after %v", status, waited)
		}
	})
}

func TestWithoutSignalsTheExitStatusIsTheCommands(t *testing.T) {
	s := &signals{arrived: make(chan os.Signal)}
	if got := s.guard(t.Context(), func(context.Context) int { return exitUsage }); got != exitUsage {
		t.Errorf("status %d", got)
	}
}

func TestRepeatedHangUpsDrainAndDoNotStopAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{arrived: make(chan os.Signal, 2), hangups: make(chan os.Signal, 2)}
		s.drain(nil)
		s.hangups <- syscall.SIGHUP
		s.hangups <- syscall.SIGHUP
		status := s.guard(t.Context(), func(ctx context.Context) int {
			<-ctx.Done()
			time.Sleep(time.Hour) // in the bubble: the calls in flight
			return exitFailedCalls
		})
		if status != exitFailedCalls {
			t.Errorf("status %d", status)
		}
	})
}

func TestAHangUpDoesNotEndACommandThatReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{arrived: make(chan os.Signal, 2), hangups: make(chan os.Signal)}
		status := s.guard(t.Context(), func(ctx context.Context) int {
			reloads := make(chan struct{}, 1)
			s.reload.Store(&reloads)
			for range 3 {
				s.hangups <- syscall.SIGHUP
				synctest.Wait()
			}
			<-reloads
			select {
			case <-reloads:
				t.Error("several hang-ups in a row caused several reloads")
			case <-ctx.Done():
				t.Error("it was ended")
			default:
			}
			s.hangups <- syscall.SIGHUP
			<-reloads
			return exitFailedCalls
		})
		if status != exitFailedCalls {
			t.Errorf("status %d", status)
		}
	})
}
