package ledger

import (
	"context"
	"errors"
	"sync"
)

const (
	// maxEndings and maxEndingBytes bound what one script records: Redis serves no
	// other client meanwhile.
	maxEndings     = 64
	maxEndingBytes = 1 << 20
)

// finisher writes the endings of one queue. There is one writer at a time; it also
// writes the endings that arrived while the writer before it wrote. No ending waits for
// others to arrive.
type finisher struct {
	finish func(context.Context, []*closing)
	script endScript

	mu      sync.Mutex
	busy    bool
	waiting []*closing
	// ids are the calls of the endings that next takes; it is kept to be used again.
	ids map[string]struct{}
}

func (d *Dispatcher) finisher(queue string) *finisher {
	if f, ok := d.finishers.Load(queue); ok {
		return f.(*finisher)
	}
	f := &finisher{}
	f.finish = func(ctx context.Context, closings []*closing) {
		d.finish(context.WithoutCancel(ctx), &f.script, queue, closings)
	}
	stored, _ := d.finishers.LoadOrStore(queue, f)
	return stored.(*finisher)
}

func (f *finisher) write(ctx context.Context, e *closing) {
	f.mu.Lock()
	f.waiting = append(f.waiting, e)
	if f.busy {
		f.mu.Unlock()
		<-e.turn
		if e.written {
			return
		}
		f.mu.Lock()
	}
	f.busy = true
	together := f.next()
	f.mu.Unlock()
	for _, one := range together {
		one.err = errUnwritten
	}
	// If this writer panics, the others must not wait for ever.
	defer func() {
		f.mu.Lock()
		if f.busy = len(f.waiting) > 0; f.busy {
			close(f.waiting[0].turn)
		}
		f.mu.Unlock()
		for _, other := range together[1:] {
			other.written = true
			close(other.turn)
		}
	}()
	f.finish(ctx, together)
}

var errUnwritten = errors.New("it was not written")

// next takes the first waiting ending, and others to write with it, each call once.
func (f *finisher) next() []*closing {
	if f.ids == nil {
		f.ids = map[string]struct{}{}
	}
	clear(f.ids)
	n, weight := 0, 0
	for _, e := range f.waiting {
		weight += e.weight
		if _, twice := f.ids[e.id]; twice || n == maxEndings || (n > 0 && weight > maxEndingBytes) {
			break
		}
		f.ids[e.id] = struct{}{}
		n++
	}
	together := f.waiting[:n:n]
	f.waiting = f.waiting[n:]
	return together
}
