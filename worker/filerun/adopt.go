package filerun

import (
	"context"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// maxOthers is how many batches of other files are searched.
const maxOthers = 100

// adopt finds the calls of the plan that are in the queue under another key or batch, so
// that they are not made a second time. These are calls of lines without a key, which an
// earlier version named by their position, and calls of another file with results in the
// same OUT, for example after a file was split or renamed.
func (r *runner) adopt(ctx context.Context) error {
	if len(r.others) == 0 && r.plan.byContent == 0 {
		return nil
	}
	found := map[hash16]candidate{}
	err := r.eachBatch(ctx, func(i int, b ledger.Batch) error {
		keys := "*"
		if len(r.others) == 0 {
			keys = "line-*"
		}
		for record, err := range r.backend.ledger.Named(ctx, b.Name, keys, tasks.TaskID) {
			if err != nil {
				return err
			}
			r.plan.consider(found, i, record)
		}
		return nil
	})
	if err == nil {
		r.plan.adopt(found)
	}
	return err
}

// candidate is a call of the queue that may be the same as one of the plan.
type candidate struct {
	id    string
	batch int
	// rank is higher for a better candidate.
	rank int
	// own reports whether the call has the key of the plan and is in a batch of this
	// input, where it is found without adoption.
	own bool
}

// consider adds a call of the queue to found if it is better than the one that is there.
// Among equal calls, a done one is best, then an open one, then another ended one.
func (p *plan) consider(found map[hash16]candidate, batch int, r ledger.Record) {
	c := candidate{id: r.ID, batch: batch}
	switch {
	case r.State == ledger.Done:
		c.rank = 4
	case r.State == ledger.Open:
		c.rank = 3
	case r.State.Ended() && !withdrew(r):
		c.rank = 2
	case r.State.Ended():
		c.rank = 1
	default:
		return // not accepted, or orphaned
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k, named, ok := p.find(r.Key, r.Hash)
	if a := p.byKey[k]; !ok || a.state != "" || a.digest != digestOf(r.Hash) {
		return
	}
	c.own = named && batch < firstOther
	if best := found[k]; c.rank > best.rank || c.rank == best.rank && c.own && !best.own {
		found[k] = c
	}
}

// adopt assigns the found calls of the queue to the calls of the plan.
func (p *plan) adopt(found map[hash16]candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, c := range found {
		if c.own {
			continue // the producer finds it when the call is sent again
		}
		p.adopted[k] = c.id
		if c.batch < firstOther {
			p.maxBatch = max(p.maxBatch, c.batch)
		}
		a := p.byKey[k]
		a.batch, a.sent = uint16(c.batch), true
		p.byKey[k] = a
	}
}

// isAdopted reports whether the plan has adopted a call of the queue for this call.
func (p *plan) isAdopted(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.has(key, digest)
	_, adopted := p.adopted[k]
	return ok && adopted
}

// isSurplus reports whether a call of the queue must not be made: the file does not have
// it, its result is known already, or the plan has adopted another call for it.
func (p *plan) isSurplus(r ledger.Record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, named, ok := p.find(r.Key, r.Hash)
	a := p.byKey[k]
	if !ok || a.digest != digestOf(r.Hash) || a.state == tasks.StateDone || a.state != "" && neverEnded(r) {
		return true
	}
	id, adopted := p.adopted[k]
	return adopted && id != r.ID || !adopted && !named
}
