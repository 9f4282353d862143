package worker

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// machinePause is how long a call that met a fault of this machine keeps its
	// place, so that those that wait do not meet it one after the other at once.
	machinePause = time.Second
	// Such a call comes back after half as long as the fault has lasted, within
	// these bounds.
	leastMachineWait = 2 * time.Second
	mostMachineWait  = 30 * time.Second
	// machineAgain is how often the fault is logged while it lasts.
	machineAgain = 10 * time.Second
)

// machine is what is known of a fault of this machine, such as having no network
// or no file descriptors left. The zero value is a machine that works. It is safe
// for concurrent use.
type machine struct {
	faulty   atomic.Bool
	mu       sync.Mutex
	since    time.Time // when the fault began
	loggedAt time.Time // when it was logged last
}

// failed notes the fault. It returns for how long a call is put off, and whether the
// fault is to be logged.
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

// machineFault puts a call back that could not go out for a fault of this machine.
// It is nobody's answer: it spends no attempt and counts in no circuit.
func (w *Worker) machineFault(ctx context.Context, inflight *inflightCall, fault error) disposition {
	wait, log := w.machine.failed(time.Now())
	if log {
		w.log.Warn("calls wait, and no attempt is spent, until this machine can make connections again", "upstream", inflight.account.name, "error", fault.Error())
	}
	timer := time.NewTimer(machinePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.draining:
	}
	return w.putOff(context.WithoutCancel(ctx), inflight.delivery, nil, wait, fault.Error())
}

// machineWorks notes that a request went out.
func (w *Worker) machineWorks() {
	if w.machine.faulty.Load() && w.machine.faulty.Swap(false) {
		w.log.Warn("this machine makes connections again: calls go out")
	}
}
