//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// notifyLimits asks for the signals of the process's limits (setrlimit). SIGXFSZ is
// ignored, so that the write fails with EFBIG; a Redis that is started as a child
// inherits that.
func (s *signals) notifyLimits() {
	signal.Notify(s.limits, syscall.SIGXCPU)
	signal.Ignore(syscall.SIGXFSZ)
}
