package worker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks"
)

// disk is what the model's Redis has written of what it has answered. While the disk
// is slow Redis answers nevertheless, for up to 2 s, as with appendfsync everysec: if
// it is killed then, it comes back as it was written last.
type disk struct {
	mu sync.Mutex
	// said counts the commands, as bytes of the append-only file, written those that
	// are written while the disk is slow.
	said, written int64
	slow          bool
	kept          *dataset
}

// mostUnwritten is how long Redis answers at most before it writes.
const mostUnwritten = 2 * time.Second

// info is what Redis says of its append-only file.
func (d *disk) info() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	written := d.said
	if d.slow {
		written = d.written
	}
	return fmt.Sprintf("# Persistence\r\naof_enabled:1\r\naof_current_size:%d\r\naof_base_size:0\r\naof_buffer_length:%d\r\n", written, d.said-written)
}

func (d *disk) says(commands int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said += int64(commands)
}

// diskHook counts the commands to Redis, and answers for its append-only file.
type diskHook struct{ *disk }

func (h diskHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h diskHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.says(1)
		return err
	}
}

func (h diskHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.says(len(cmds))
		for _, cmd := range cmds {
			if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
				info.SetErr(nil)
				info.SetVal(h.info())
			}
		}
		return err
	}
}

// dataset is all that Redis holds.
type dataset struct {
	strings map[string]string
	hashes  map[string]map[string]string
	lists   map[string][]string
	sets    map[string][]string
	zsets   map[string]map[string]float64
	ends    map[string]time.Time
}

func datasetOf(m *miniredis.Miniredis) (*dataset, error) {
	d := &dataset{
		strings: map[string]string{}, hashes: map[string]map[string]string{}, lists: map[string][]string{}, sets: map[string][]string{},
		zsets: map[string]map[string]float64{}, ends: map[string]time.Time{},
	}
	for _, key := range m.Keys() {
		var err error
		switch kind := m.Type(key); kind {
		case "string":
			d.strings[key], err = m.Get(key)
		case "hash":
			d.hashes[key] = map[string]string{}
			var fields []string
			fields, err = m.HKeys(key)
			for _, field := range fields {
				d.hashes[key][field] = m.HGet(key, field)
			}
		case "list":
			d.lists[key], err = m.List(key)
			d.lists[key] = slices.Clone(d.lists[key]) // miniredis gives its own away
		case "set":
			d.sets[key], err = m.Members(key)
		case "zset":
			d.zsets[key], err = m.SortedSet(key)
			d.zsets[key] = maps.Clone(d.zsets[key])
		default:
			err = fmt.Errorf("the model has no rule for the type %s of %s", kind, key)
		}
		if err != nil {
			return nil, err
		}
		if left := m.TTL(key); left > 0 {
			d.ends[key] = time.Now().Add(left)
		}
	}
	return d, nil
}

// load puts it in the place of what Redis holds.
func (d *dataset) load(m *miniredis.Miniredis) (err error) {
	m.FlushAll()
	for key, value := range d.strings {
		if err = m.Set(key, value); err != nil {
			return err
		}
	}
	for key, hash := range d.hashes {
		for field, value := range hash {
			m.HSet(key, field, value)
		}
	}
	for key, list := range d.lists {
		if _, err = m.Push(key, list...); err != nil {
			return err
		}
	}
	for key, set := range d.sets {
		if _, err = m.SetAdd(key, set...); err != nil {
			return err
		}
	}
	for key, zset := range d.zsets {
		for member, score := range zset {
			if _, err = m.ZAdd(key, score, member); err != nil {
				return err
			}
		}
	}
	for key, end := range d.ends {
		if left := time.Until(end); left > 0 {
			m.SetTTL(key, left)
		} else {
			m.Del(key)
		}
	}
	return nil
}

// writeUp has Redis write all that it has said; a disk that is slow stays so.
func (f *fleet) writeUp() {
	if !f.disk.slow {
		return
	}
	kept, err := datasetOf(f.mini)
	f.must(err)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.kept, f.disk.written = kept, f.disk.said
}

// slowDisk makes the disk slow.
func (f *fleet) slowDisk(t *rapid.T) {
	if !f.forgets || f.disk.slow {
		t.Skip("not now")
	}
	f.logEvent("the disk is slow")
	f.disk.slow = true
	f.writeUp()
}

// written has Redis write, and the disk be quick again or not.
func (f *fleet) written(t *rapid.T) {
	if !f.disk.slow {
		t.Skip("it is written")
	}
	f.writeUp()
	if rapid.Bool().Draw(t, "the disk is quick again") {
		f.disk.slow = false
	}
	f.logEvent("Redis has written; the disk is slow: %v", f.disk.slow)
}

// crash kills Redis, and starts it again with what it has written. Who has sent calls
// sends again those that it has lost. Circuits, limits and operators' words may be
// forgotten, and what was is not known to all workers: from now on the model does not
// hold them against the scripts.
func (f *fleet) crash(t *rapid.T) {
	if !f.disk.slow {
		t.Skip("nothing to lose")
	}
	f.fall()
}

// fallTogether has workers make calls on a slow disk, and kills all of them and Redis
// at once, as a person does who ends the process group of a run. Nobody is left who
// remembers what Redis had not written.
func (f *fleet) fallTogether(t *rapid.T) {
	if !f.forgets || f.keeper != nil {
		t.Skip("not now")
	}
	seldom(t)
	f.disk.slow = true
	f.writeUp()
	f.takeAll(t)
	for range rapid.IntRange(1, 8).Draw(t, "steps before it") {
		for _, s := range slices.Clone(f.steps) {
			if s.stands && !s.proc.frozen {
				f.wake(s, false)
			}
		}
	}
	f.logEvent("all workers are killed")
	for i, p := range f.procs {
		f.end(p)
		f.procs[i] = f.newProc()
	}
	f.fall()
	f.pass(modelLease + 2*time.Second)
	f.recover()
}

// fall is the death of Redis on a slow disk, and its new start.
func (f *fleet) fall() {
	f.logEvent("Redis is killed, and continues with what it has written")
	f.must(f.disk.kept.load(f.mini))
	f.disk.slow, f.disk.kept = false, nil
	f.amnesia, f.lostOnce, f.lost, f.keeper = true, true, 0, nil
	f.counters.unknown = true
	clear(f.probes)
	clear(f.epochs)
	for _, s := range f.steps {
		s.blind = true
	}
	for queue := range f.paused {
		f.paused[queue] = f.mini.Exists(asynqKey(queue, "paused"))
	}
	for i, id := range f.ids {
		if f.hget(f.record(id), "state") == "" {
			f.send(i, f.calls[id])
		}
	}
}

// stall pauses Redis for a while. No lease is lengthened meanwhile, and
// by asynq's own reckoning a call whose lease is over is not its worker's any more.
func (f *fleet) stall(t *rapid.T) {
	seldom(t)
	d := rapid.SampledFrom([]time.Duration{time.Second, 12 * time.Second, 40 * time.Second}).Draw(t, "Redis is paused for")
	f.logEvent("Redis is paused for %s", d)
	f.rest(d)
	f.awaitPaused()
	now := time.Now()
	for _, s := range f.steps {
		if s.delivery != nil && !s.lapsed && now.After(s.leased) {
			s.lapsed = true
			s.cancel()
		}
	}
	f.awaitPaused()
}

// killInTurn kills one worker after the other, each while it makes calls.
func (f *fleet) killInTurn(t *rapid.T) {
	seldom(t)
	seldom(t)
	if f.keeper != nil {
		t.Skip("only one of them has what Redis has lost")
	}
	for n := range rapid.IntRange(2, 8).Draw(t, "kills") {
		most, calls := n%modelWorkers, 0
		for i, p := range f.procs {
			under := 0
			for _, s := range f.steps {
				if s.proc == p && s.delivery != nil {
					under++
				}
			}
			if under > calls && !p.frozen {
				most, calls = i, under
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "steps before it") {
			for _, s := range slices.Clone(f.steps) {
				if s.stands && s.proc == f.procs[most] {
					f.wake(s, false)
				}
			}
		}
		f.logEvent("worker %d is killed, in turn", most)
		f.end(f.procs[most])
		f.procs[most] = f.newProc()
		f.pass(modelLease + 2*time.Second)
		f.recover()
		f.begin(f.procs[most], modelUpstream, 2)
	}
}

// send puts a call of the model into the queue, or finds it there.
func (f *fleet) send(n int, c *modelCall) string {
	o := tasks.Options{
		Upstream: modelUpstream, Batch: modelBatch, Key: fmt.Sprint(n), Idempotent: &c.idempotent, Priority: c.priority,
	}
	var r tasks.Receipt
	var err error
	if c.idempotent {
		r, err = tasks.Enqueue(f.ctx, f.producer, modelRead{}, o)
	} else {
		r, err = tasks.Enqueue(f.ctx, f.producer, modelWrite{}, o)
	}
	f.must(err)
	return r.ID
}

// checkAlone checks that a call which is made beside another is not one that was to be
// made alone, or beside one. Past its longest time the others continue.
func (f *fleet) checkAlone(s *step) {
	for _, o := range f.steps {
		if o == s || o.proc != s.proc || o.over || o.lapsed || s.lapsed {
			continue
		}
		if !o.alone.IsZero() && time.Since(o.alone) < s.proc.w.shutdownTimeout() {
			f.broken("%s is made beside %s, which is to be made alone", s, o)
		}
	}
}

// checkCrashLoop checks, as an ending is recorded, that a call which is held to kill
// its workers was made alone by them.
func (f *fleet) checkCrashLoop(s *step, ending []string) {
	if !strings.Contains(fmt.Sprint(ending), `"class":"crash_loop"`) {
		return
	}
	most, alone := 1, 0
	if s.call.idempotent {
		most = 2
	}
	for _, start := range s.call.alones {
		if start != s && start.delivery.Generation == s.delivery.Generation {
			alone++
		}
	}
	if alone < most {
		f.broken("%s ends as crash_loop, and %d workers died while they made it alone, %d would be needed", s, alone, most)
	}
}

// sentAtMost is how many attempts a call may count. Redis may have forgotten that one
// of its sends was a park.
func (f *fleet) sentAtMost(c *modelCall, generation int) int {
	if f.amnesia {
		return c.sent[generation]
	}
	return c.spent[generation]
}
