package ledger

import (
	"context"
	"slices"
	"sync"
	"time"
)

const (
	// endingsFor is for how long a process remembers the endings that it has recorded,
	// and endingsWeight how many bytes of them, of all queues together: what a fail-over
	// loses is younger. One that is heavier than anEnding is not remembered.
	endingsFor    = time.Minute
	endingsWeight = 16 << 20
	anEnding      = 1 << 20
)

// lastEndings are those that this process has recorded last. A Redis that has forgotten them
// is told again, so that their calls are not made twice, nor end as unknown. They are
// safe for concurrent use.
type lastEndings struct {
	mu     sync.Mutex
	list   []ended // the oldest first, from head on
	head   int
	weight int
}

type ended struct {
	queue string
	at    time.Time
	*closing
}

// remember notes an ending that was recorded.
func (e *lastEndings) remember(queue string, c *closing) {
	if c.weight > anEnding {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	now := time.Now()
	e.list = append(e.list, ended{queue, now, c})
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

// of are those of a queue, the oldest first.
func (e *lastEndings) of(queue string) (list []*closing) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, one := range e.list[e.head:] {
		if one.queue == queue {
			list = append(list, &closing{id: one.id, weight: one.weight, args: one.args})
		}
	}
	return list
}

// tellEndings records the endings of a queue that this process remembers once more: the
// first ending of a call stands.
func (l *Ledger) tellEndings(ctx context.Context, queue string) error {
	f := &finisher{waiting: l.last.of(queue)}
	for len(f.waiting) > 0 {
		together := f.next()
		l.finish(ctx, queue, together)
		for _, e := range together {
			if e.err != nil {
				return e.err
			}
		}
	}
	return nil
}
