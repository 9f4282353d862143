package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// machinePause is how long a call with a fault of this machine keeps the semaphore, so
	// that the waiting calls do not all fail one after the other at once.
	machinePause = time.Second
	// Such a call comes back after half of the time for which the fault has lasted, within
	// these bounds.
	leastMachineWait = 2 * time.Second
	mostMachineWait  = 30 * time.Second
	// machineAgain is how often the fault is logged while it lasts.
	machineAgain = 10 * time.Second
)

// machine records faults of this machine, such as no network or no free file descriptors.
// The zero value is a machine that works. It is safe for concurrent use.
type machine struct {
	faulty   atomic.Bool
	mu       sync.Mutex
	since    time.Time // when the fault began
	loggedAt time.Time // when it was logged last
}

// failed records a fault. It returns how long to put the call off, and whether to log the
// fault.
func (m *machine) failed(now time.Time) (wait time.Duration, log bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.faulty.Swap(true) {
		m.since = now
	}
	if log = now.Sub(m.loggedAt) >= machineAgain; log {
		m.loggedAt = now
	}
	return min(max(now.Sub(m.since)/2, leastMachineWait), mostMachineWait), log
}

// machineFault puts a call off that could not be sent because of a fault of this machine.
// The fault says nothing about the API: it spends no attempt and counts in no circuit.
func (w *Worker) machineFault(ctx context.Context, inflight *inflightCall, fault error) disposition {
	wait, log := w.machine.failed(time.Now())
	if log {
		w.log.Warn("this machine cannot make connections: calls wait, and no attempt is spent", "upstream", inflight.account.name, "error", fault.Error())
	}
	timer := time.NewTimer(machinePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.draining:
	}
	return w.putOff(context.WithoutCancel(ctx), inflight.delivery, nil, wait, fault.Error())
}

// machineWorks records that a request was sent.
func (w *Worker) machineWorks() {
	if w.machine.faulty.Load() && w.machine.faulty.Swap(false) {
		w.log.Warn("this machine can make connections again: calls continue")
	}
}
