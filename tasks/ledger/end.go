package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// asynq keeps at most 10,000 archived tasks for at most 90 days, and its way of
	// deleting the oldest can fail. The archive is only a view of the ledger's dead
	// letters, so callq keeps it well below both.
	archiveKeep = 5000
	asynqKeeps  = 10_000
	archiveAge  = 80 * 24 * time.Hour
	// asynq keeps its daily figures for 90 days.
	statsAge = 90 * 24 * time.Hour
)

// Final is how a call is to end.
type Final struct {
	State  State
	Ending Ending
	// Body is the result, with its content type; nil stores none.
	Body     []byte
	BodyType string
	// Assumed reports that no answer was seen and that the ending is a conclusion
	// (outcome_unknown after a crash). A real answer replaces it.
	Assumed bool
	// Group describes the dead letter's group; only for Dead.
	Group Group
}

// End records how the call ended, its log's last line (unless a is nil) and, for done
// and dropped, removes the task from asynq's lists in the same step. It returns the
// account's streak of failures, and false when the call had ended before or moved on:
// the first ending stays. Endings that arrive while others of their queue are being
// written go to Redis together, in one script. Cancelling ctx does not stop it.
func (d *Dispatcher) End(ctx context.Context, t *Delivery, f Final, a *Attempt) (streak int, applied bool, err error) {
	e, err := closingOf(t, f, a)
	if err != nil {
		return 0, false, err
	}
	d.finisher(t.Queue).write(context.WithoutCancel(ctx), e)
	if e.err != nil {
		return 0, false, fmt.Errorf("record the ending of call %s: %w", t.ID, e.err)
	}
	if e.applied {
		d.last.remember(t, e)
	}
	return e.streak, e.applied, nil
}

func closingOf(t *Delivery, f Final, a *Attempt) (*closing, error) {
	_, log, err := t.logWith(a)
	if err != nil {
		return nil, err
	}
	out, err := encodeEnding(f.Ending)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", t.ID, err)
	}
	fields := []any{"log", log, "out", out}
	if f.Body != nil {
		fields = append(fields, "body", f.Body, "type", f.BodyType)
	}
	remove, real, group, description := 1, 1, "", ""
	if f.State == Dead {
		remove, group, description = 0, f.Group.Name(), f.Group.encode()
		fields = append(fields, "group", group)
	}
	if t.FreshKeys > 0 { // a redrive goes on from it
		fields = append(fields, "fresh_keys", t.FreshKeys)
	}
	if earlier := t.earlierWith(a != nil).encode(); earlier != "" {
		fields = append(fields, "earlier", earlier)
	}
	if f.Assumed {
		real = 0
		fields = append(fields, "assumed", 1)
	}
	return &closing{
		id: t.ID, weight: len(log) + len(out) + len(f.Body), turn: make(chan struct{}),
		args: append([]any{t.ID, t.Batch, t.Generation, string(f.State), remove, real, group, description, len(f.Body), len(fields)}, fields...),
	}, nil
}

// finish runs the script that records endings of one queue, and sets the result in each
// closing.
func (d *Dispatcher) finish(ctx context.Context, queue string, closings []*closing) {
	now := time.Now()
	k := keysOf(queue)
	args := make([]any, 0, 5+len(closings)*(len(closings[0].args)+4))
	args = append(args, k.taskPrefix(), k.own, now.Add(statsAge).Unix(), now.Add(-archiveAge).Unix(), archiveKeep)
	for _, e := range closings {
		args = append(args, e.args...)
	}
	n, err := scriptEnd.Run(ctx, d.rdb, []string{
		k.active(), k.lease(), k.processed() + ":" + now.UTC().Format(time.DateOnly), k.processed(), k.archived(),
		d.circuit(queue), k.dead(), k.groups(),
	}, args...).Int64Slice()
	if refused := redis.Error(nil); len(closings) > 1 && errors.As(err, &refused) {
		// Redis may refuse the script because of one ending: that must not keep the
		// other calls from ending.
		for _, e := range closings {
			d.finish(ctx, queue, []*closing{e})
		}
		return
	}
	for i, e := range closings {
		if e.err = err; err == nil {
			e.streak, e.applied = int(n[0]), n[i+1] == 1
		}
	}
}

const (
	// maxEndings and maxEndingBytes bound what one script records: Redis serves no
	// other client meanwhile.
	maxEndings     = 64
	maxEndingBytes = 1 << 20
)

// closing is a call's ending on its way to Redis.
type closing struct {
	id     string
	weight int
	args   []any
	// turn is closed when the ending was written, or when its caller is to write it
	// together with the endings that wait; written distinguishes the two.
	turn    chan struct{}
	written bool

	streak  int
	applied bool
	err     error
}

// finisher writes the endings of one queue. There is one writer at a time; it also
// writes the endings that arrived while the writer before it wrote. No ending waits for
// others to arrive.
type finisher struct {
	finish func(context.Context, []*closing)

	mu      sync.Mutex
	busy    bool
	waiting []*closing
}

func (d *Dispatcher) finisher(queue string) *finisher {
	if f, ok := d.finishers.Load(queue); ok {
		return f.(*finisher)
	}
	f, _ := d.finishers.LoadOrStore(queue, &finisher{finish: func(ctx context.Context, closings []*closing) {
		d.finish(ctx, queue, closings)
	}})
	return f.(*finisher)
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
	n, weight, ids := 0, 0, make(map[string]struct{}, min(len(f.waiting), maxEndings))
	for _, e := range f.waiting {
		weight += e.weight
		if _, twice := ids[e.id]; twice || n == maxEndings || (n > 0 && weight > maxEndingBytes) {
			break
		}
		ids[e.id] = struct{}{}
		n++
	}
	together := f.waiting[:n:n]
	f.waiting = f.waiting[n:]
	return together
}
