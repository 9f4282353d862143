package filerun

import (
	"context"
	"slices"
	"sync"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/spool"
)

const (
	// roomInRedis is how many bytes of large results of a run are in Redis at most. They
	// leave it when they are in the results file.
	roomInRedis = 48 << 20
	// syncAfter is after how many bytes of large results the results file is made safe.
	syncAfter = 16 << 20
)

// room is how much of a run's large results Redis has, and will have in a moment. Its
// methods are safe for concurrent use.
type room struct {
	memory *spool.Memory
	opened chan struct{}
	open   func()

	mu   sync.Mutex
	held map[string]func() // by call id
}

func newRoom(size int64) *room {
	r := &room{memory: spool.NewMemory(size), opened: make(chan struct{}), held: map[string]func(){}}
	r.open = sync.OnceFunc(func() { close(r.opened) })
	return r
}

// enter waits until there is room for a result, or none is kept free any more. written
// is told whether it went to Redis.
func (r *room) enter(id string, size int64) (written func(bool)) {
	release, _ := r.memory.Take(size, r.opened)
	r.leave(id) // of an earlier generation
	r.mu.Lock()
	r.held[id] = release
	r.mu.Unlock()
	return func(stored bool) {
		if !stored {
			r.leave(id)
		}
	}
}

// leave gives back the room of a call, if it has any.
func (r *room) leave(id string) {
	r.mu.Lock()
	release := r.held[id]
	delete(r.held, id)
	r.mu.Unlock()
	if release != nil {
		release()
	}
}

// exported is a result that is in the results file, and whose body Redis still has.
type exported struct {
	queue, id string
	large     bool
}

// onLarge is the worker's question before it records a large result.
func (r *runner) onLarge(batch, id string, size int64) (written func(bool)) {
	if !r.out.kept() || !r.collects(batch) {
		return func(bool) {}
	}
	return r.room.enter(id, size)
}

// collects reports whether the results of a batch come to this run.
func (r *runner) collects(batch string) bool {
	return slices.ContainsFunc(r.inUse(), func(i int) bool { return r.batch(i) == batch })
}

// mayFree notes that a result is in the results file, or will be with the next flush.
func (r *runner) mayFree(record ledger.Record) {
	large := len(record.Body) > spool.Large
	if len(record.Body) > 0 && (large || r.tracks || r.cfg.DropBodies) {
		r.exported = append(r.exported, exported{queue: record.Queue, id: record.ID, large: large})
	}
	if large {
		r.heavy += len(record.Body)
	}
}

// free frees the bodies that Redis need not keep any more: the results file has them for
// certain. Where results go through a pipe, which nobody may have read, they stay until
// Redis has half of what it may have.
func (r *runner) free(ctx context.Context) error {
	kept, err := r.back.ledger.Bodies(ctx)
	if err != nil {
		return err
	}
	most := r.cfg.Worker.MaxMemory
	r.tracks = kept >= most/4
	goes := func(e exported) bool {
		return kept >= most/2 || r.out.kept() && (e.large || r.cfg.DropBodies)
	}
	ids := map[string][]string{}
	for _, e := range r.exported {
		if goes(e) {
			ids[e.queue] = append(ids[e.queue], e.id)
		}
	}
	for queue, list := range ids {
		if err := r.back.ledger.FreeBody(ctx, queue, list...); err != nil {
			return err
		}
		for _, id := range list {
			r.room.leave(id)
		}
	}
	r.exported = slices.DeleteFunc(r.exported, goes)
	return nil
}
