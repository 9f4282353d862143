//go:build unix

package main

import (
	"os/signal"
	"syscall"
)

// notifyLimits handles the signals of the process's limits (setrlimit). It ignores SIGXFSZ,
// so that the write fails with EFBIG. A Redis that is started as a child inherits this.
func (s *signals) notifyLimits() {
	signal.Notify(s.limits, syscall.SIGXCPU)
	signal.Ignore(syscall.SIGXFSZ)
}
