package filerun

import (
	"context"
	"slices"
	"sync"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/spool"
)

const (
	// roomInRedis limits the bytes of large results of a run in Redis. They are freed
	// when they are in the results file.
	roomInRedis = 48 << 20
	// syncAfter is after how many bytes of large results the results file is synced.
	syncAfter = 16 << 20
)

// room limits the bytes of large results of a run in Redis. A worker reserves room before
// it stores a result. The methods are safe for concurrent use.
type room struct {
	memory   *spool.Memory
	disabled chan struct{}
	// disable ends the limit and all waits for room.
	disable func()

	mu   sync.Mutex
	held map[string]func() // releases the room of a call, by call id
}

func newRoom(size int64) *room {
	r := &room{memory: spool.NewMemory(size), disabled: make(chan struct{}), held: map[string]func(){}}
	r.disable = sync.OnceFunc(func() { close(r.disabled) })
	return r
}

// reserve waits until there is room for a result, or the limit is disabled. The caller
// must call written with whether the result was stored in Redis.
func (r *room) reserve(id string, size int64) (written func(bool)) {
	release, _ := r.memory.Take(size, r.disabled)
	r.release(id) // the room of an earlier generation of the call
	r.mu.Lock()
	r.held[id] = release
	r.mu.Unlock()
	return func(stored bool) {
		if !stored {
			r.release(id)
		}
	}
}

// release frees the room of a call, if it has any.
func (r *room) release(id string) {
	r.mu.Lock()
	release := r.held[id]
	delete(r.held, id)
	r.mu.Unlock()
	if release != nil {
		release()
	}
}

// exported is a result in the results file whose body is still in Redis.
type exported struct {
	queue, id string
	large     bool
}

// onLarge is called by the worker before it stores a large result.
func (r *runner) onLarge(batch, id string, size int64) (written func(bool)) {
	if !r.out.isDurable() || !r.collects(batch) {
		return func(bool) {}
	}
	return r.room.reserve(id, size)
}

// collects reports whether this run collects the results of a batch.
func (r *runner) collects(batch string) bool {
	return slices.ContainsFunc(r.inUse(), func(i int) bool { return r.batch(i) == batch })
}

// noteExported records that a result is in the results file, or will be after the next
// flush.
func (r *runner) noteExported(record ledger.Record) {
	large := len(record.Body) > spool.Large
	if len(record.Body) > 0 && (large || r.tracksSmall || r.cfg.DropBodies) {
		r.exported = append(r.exported, exported{queue: record.Queue, id: record.ID, large: large})
	}
	if large {
		r.unsyncedLarge += len(record.Body)
	}
}

// freeBodies frees the bodies in Redis of results that are in the results file. The
// results in a pipe may never be read, so their bodies stay until the results in Redis
// take half of the allowed memory.
func (r *runner) freeBodies(ctx context.Context) error {
	kept, err := r.backend.ledger.Bodies(ctx)
	if err != nil {
		return err
	}
	most := r.cfg.Worker.MaxMemory
	r.tracksSmall = kept >= most/4
	canFree := func(e exported) bool {
		return kept >= most/2 || r.out.isDurable() && (e.large || r.cfg.DropBodies)
	}
	ids := map[string][]string{}
	for _, e := range r.exported {
		if canFree(e) {
			ids[e.queue] = append(ids[e.queue], e.id)
		}
	}
	for queue, list := range ids {
		if err := r.backend.ledger.FreeBody(ctx, queue, list...); err != nil {
			return err
		}
		for _, id := range list {
			r.room.release(id)
		}
	}
	r.exported = slices.DeleteFunc(r.exported, canFree)
	return nil
}
