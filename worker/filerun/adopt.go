package filerun

import (
	"context"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// maxOthers is how many batches of other files are looked into.
const maxOthers = 100

// adopt finds the calls of the plan that the queue knows under another name, and
// leaves them to it, so that they are not made a second time: those of lines
// without a key that an earlier version named by their position, and those that
// were sent from another file whose results stand in the same OUT, as where a file
// was split or renamed.
func (r *runner) adopt(ctx context.Context) error {
	if len(r.others) == 0 && r.plan.byContent == 0 {
		return nil
	}
	found := map[mark]candidate{}
	err := r.eachBatch(ctx, func(i int, b ledger.Batch) error {
		keys := "*"
		if len(r.others) == 0 {
			keys = "line-*"
		}
		for record, err := range r.back.ledger.Named(ctx, b.Name, keys, tasks.TaskID) {
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

// candidate is a call of the queue that may stand for one of the plan.
type candidate struct {
	id    string
	batch int
	rank  int
	// own reports whether it has the plan's name in the file's first batch, where it is
	// found anyway.
	own bool
}

// consider takes a call of the queue into account: the best of those that say the
// same is the one that has been made, or else the one that will be.
func (p *plan) consider(found map[mark]candidate, batch int, r ledger.Record) {
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
		return // it was never accepted, or is lost
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	k, named, ok := p.find(r.Key, r.Hash)
	if a := p.asked[k]; !ok || a.state != "" || a.digest != digestOf(r.Hash) {
		return
	}
	c.own = named && batch < firstOther
	if best := found[k]; c.rank > best.rank || c.rank == best.rank && c.own && !best.own {
		found[k] = c
	}
}

// adopt leaves the plan's calls to the calls of the queue that were found.
func (p *plan) adopt(found map[mark]candidate) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k, c := range found {
		if c.own {
			continue // sending it again finds it
		}
		p.holders[k] = c.id
		if c.batch < firstOther {
			p.furthest = max(p.furthest, c.batch)
		}
		a := p.asked[k]
		a.batch, a.sent = uint16(c.batch), true
		p.asked[k] = a
	}
}

// held reports whether a call of the queue stands for this one of the plan.
func (p *plan) held(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.has(key, digest)
	_, held := p.holders[k]
	return ok && held
}

// surplus reports whether a call of the queue is not to be made: the file does not ask for
// it, has its result already, or another one stands for it.
func (p *plan) surplus(r ledger.Record) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, named, ok := p.find(r.Key, r.Hash)
	a := p.asked[k]
	if !ok || a.digest != digestOf(r.Hash) || a.state == tasks.StateDone || a.state != "" && neverEnded(r) {
		return true
	}
	holder, held := p.holders[k]
	return held && holder != r.ID || !held && !named
}
