package ledger

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// endingsFor is for how long a process remembers the endings that it has recorded,
	// and endingsWeight how many bytes of them, of all queues together: a failover
	// loses only younger ones. An ending larger than anEnding is not remembered.
	endingsFor    = time.Minute
	endingsWeight = 16 << 20
	anEnding      = 1 << 20
)

// lastEndings are the latest endings that this process has recorded. They are recorded
// again in a Redis that has forgotten them, so that their calls are neither made twice
// nor end as unknown. They are safe for concurrent use.
type lastEndings struct {
	mu     sync.Mutex
	list   []ended // the oldest first, beginning at head
	head   int
	weight int
}

type ended struct {
	queue string
	at    time.Time
	// accepted distinguishes the call from one that was sent again under the same key,
	// to a Redis that was emptied.
	accepted time.Time
	*closing
}

// remember adds an ending that was recorded.
func (e *lastEndings) remember(t *Delivery, c *closing) {
	if c.weight > anEnding {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.list = append(e.list, ended{t.Queue, now, t.AcceptedAt, c})
	e.weight += c.weight
	for e.head < len(e.list) && (e.weight > endingsWeight || now.Sub(e.list[e.head].at) > endingsFor) {
		e.weight -= e.list[e.head].weight
		e.list[e.head] = ended{}
		e.head++
	}
	if e.head > len(e.list)/2 {
		e.list, e.head = slices.Clone(e.list[e.head:]), 0
	}
}

// of returns those of a queue, the oldest first.
func (e *lastEndings) of(queue string) (list []ended) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.list[e.head:] {
		if one.queue == queue {
			again := *one.closing
			again.place, again.applied = place{}, false
			one.closing = &again
			list = append(list, one)
		}
	}
	return list
}

// restoreEndings records the endings of a queue that this process remembers once more:
// the first ending of a call stays.
func (d *Dispatcher) restoreEndings(ctx context.Context, queue string) error {
	all := d.last.of(queue)
	if len(all) == 0 {
		return nil
	}
	ids := make([]string, len(all))
	for i, one := range all {
		ids[i] = one.id
	}
	rows, err := d.fields(ctx, queue, ids, "state", "origin")
	if err != nil {
		return err
	}
	f := newFinisher()
	for i, row := range rows {
		r := recordFromHash(queue, ids[i], hash{"state", row[0], "origin", row[1]})
		if r.State == Open && r.AcceptedAt.Equal(all[i].accepted) {
			f.waiting = append(f.waiting, all[i].closing)
		}
	}
	for len(f.waiting) > 0 {
		together := f.next()
		d.finish(ctx, &f.script, queue, together)
		for _, e := range together {
			if e.err != nil {
				return e.err
			}
		}
	}
	return nil
}
