package worker

import (
	"context"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

const (
	// probeLease is how long a probe's lease lasts if it is not renewed, because its worker
	// was killed or is paused. Then another call becomes the probe.
	probeLease = 8 * time.Second
	// renewEvery is how often a worker renews the leases of its probes.
	renewEvery = 2 * time.Second
	// probeGrace is how long a probe may take in addition to its requests.
	probeGrace = 15 * time.Second
)

// probes has the probes that this process makes. The zero value has none. It is safe for
// concurrent use.
type probes struct {
	mu   sync.Mutex
	held map[string]heldProbe // by token
}

// heldProbe is a probe of a circuit.
type heldProbe struct {
	name  circuit.Name
	epoch int64
	// renewed is when the lease was renewed last, renewUntil when it is not renewed any
	// more, so that a probe that hangs does not block its circuit.
	renewed, renewUntil time.Time
}

// add starts the renewal of a probe's lease, until remove.
func (p *probes) add(token string, h heldProbe) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		p.held = map[string]heldProbe{}
	}
	p.held[token] = h
}

func (p *probes) remove(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, token)
}

// renewed records when a lease was renewed, unless the probe was removed meanwhile.
func (p *probes) renewed(token string, at time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if h, ok := p.held[token]; ok {
		h.renewed = at
		p.held[token] = h
	}
}

// due returns the probes whose leases must be renewed.
func (p *probes) due(now time.Time) map[string]heldProbe {
	p.mu.Lock()
	defer p.mu.Unlock()
	due := make(map[string]heldProbe, len(p.held))
	for token, h := range p.held {
		if now.Before(h.renewUntil) {
			due[token] = h
		}
	}
	return due
}

// renew renews the leases of this process's probes until ctx ends.
func (w *Worker) renew(ctx context.Context) {
	every(ctx, renewEvery, func() { w.noteRedisError(w.renewOnce(ctx)) })
}

func (w *Worker) renewOnce(ctx context.Context) (err error) {
	now := time.Now()
	for token, h := range w.probes.due(now) {
		applied, renewErr := w.circuits.Renew(ctx, h.name, circuit.Renewal{
			Token: token, Epoch: h.epoch, Lease: probeLease, Held: now.Sub(h.renewed) < probeLease,
		})
		switch {
		case renewErr != nil:
			err = renewErr // on a Cluster the other probes may be on another node
		case applied:
			w.probes.renewed(token, now)
		default:
			w.probes.remove(token)
		}
	}
	return err
}

// stopRenewing ends the renewal of a call's probes.
func (w *Worker) stopRenewing(inflight *inflightCall) {
	for _, token := range inflight.probeTokens {
		w.probes.remove(token)
	}
}
