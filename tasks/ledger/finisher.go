package ledger

import "context"

const (
	// maxEndings and maxEndingBytes bound what one script records: Redis serves no
	// other client meanwhile.
	maxEndings     = 64
	maxEndingBytes = 1 << 20
)

// finisher writes the endings of one queue.
type finisher struct {
	gatherer[*closing]
	script endScript
	// ids are the calls of the endings that fit together; it is kept to be used again.
	ids map[string]struct{}
}

func newFinisher() *finisher {
	f := &finisher{ids: map[string]struct{}{}}
	f.fit = f.fitting
	return f
}

func (d *Dispatcher) finisher(queue string) *finisher {
	return ofQueue(&d.finishers, queue, func() *finisher {
		f := newFinisher()
		f.do = func(ctx context.Context, closings []*closing) { d.finish(ctx, &f.script, queue, closings) }
		return f
	})
}

// fitting returns how many endings are written together: each call once.
func (f *finisher) fitting(waiting []*closing) (n int) {
	clear(f.ids)
	weight := 0
	for _, e := range waiting {
		weight += e.weight
		if _, twice := f.ids[e.id]; twice || n == maxEndings || (n > 0 && weight > maxEndingBytes) {
			break
		}
		f.ids[e.id] = struct{}{}
		n++
	}
	return n
}
