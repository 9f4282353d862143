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

// disk is what the model's Redis has written to its append-only file. While the disk is
// slow, Redis still answers, for up to 2 s, as with appendfsync everysec. If it is killed
// then, it restarts with what it had written last.
type disk struct {
	mu sync.Mutex
	// commands counts all commands, each as one byte of the append-only file. While the
	// disk is slow, written is how many of them are written, and kept is what is written.
	commands, written int64
	slow              bool
	kept              *dataset
}

// mostUnwritten is how long Redis answers at most while it cannot write.
const mostUnwritten = 2 * time.Second

// info returns what Redis's INFO command says about its append-only file.
func (d *disk) info() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	written := d.commands
	if d.slow {
		written = d.written
	}
	return fmt.Sprintf("# Persistence\r\naof_enabled:1\r\naof_current_size:%d\r\naof_base_size:0\r\naof_buffer_length:%d\r\n", written, d.commands-written)
}

func (d *disk) count(commands int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.commands += int64(commands)
}

// diskHook counts the commands to Redis, and answers INFO about its append-only file.
type diskHook struct{ *disk }

func (h diskHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h diskHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.count(1)
		return err
	}
}

func (h diskHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		h.count(len(cmds))
		for _, cmd := range cmds {
			if info, ok := cmd.(*redis.StringCmd); ok && cmd.Name() == "info" {
				info.SetErr(nil)
				info.SetVal(h.info())
			}
		}
		return err
	}
}

// dataset is all data in Redis.
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

// load replaces all data in Redis with d.
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

// writeUp makes Redis write all that it has not written; a slow disk stays slow.
func (f *fleet) writeUp() {
	if !f.disk.slow {
		return
	}
	kept, err := datasetOf(f.mini)
	f.must(err)
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.kept, f.disk.written = kept, f.disk.commands
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

// written makes Redis write; the disk may be quick again or stay slow.
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

// crash kills Redis, and starts it again with what it has written. The calls that it has
// lost are sent again. It may have lost changes of circuits, limits and by operators, and
// not every worker remembers them: from now on the model does not check these.
func (f *fleet) crash(t *rapid.T) {
	if !f.disk.slow {
		t.Skip("nothing to lose")
	}
	f.fall()
}

// fallTogether lets workers make calls on a slow disk, and kills all of them and Redis at
// once, as when the process group of a run is killed. No worker is left that remembers
// what Redis had not written.
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
			if s.paused && !s.proc.frozen {
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

// fall kills Redis on a slow disk, and starts it again.
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

// stall pauses Redis for a while. No lease is renewed meanwhile, and asynq takes a call
// away from its worker when its lease has ended.
func (f *fleet) stall(t *rapid.T) {
	seldom(t)
	d := rapid.SampledFrom([]time.Duration{time.Second, 12 * time.Second, 40 * time.Second}).Draw(t, "Redis is paused for")
	f.logEvent("Redis is paused for %s", d)
	f.sleep(d)
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
		t.Skip("only one worker has what Redis has lost")
	}
	for n := range rapid.IntRange(2, 8).Draw(t, "kills") {
		most, calls := n%modelWorkers, 0
		for i, p := range f.procs {
			inflight := 0
			for _, s := range f.steps {
				if s.proc == p && s.delivery != nil {
					inflight++
				}
			}
			if inflight > calls && !p.frozen {
				most, calls = i, inflight
			}
		}
		for range rapid.IntRange(0, 3).Draw(t, "steps before it") {
			for _, s := range slices.Clone(f.steps) {
				if s.paused && s.proc == f.procs[most] {
					f.wake(s, false)
				}
			}
		}
		f.logEvent("worker %d is killed in turn", most)
		f.end(f.procs[most])
		f.procs[most] = f.newProc()
		f.pass(modelLease + 2*time.Second)
		f.recover()
		f.begin(f.procs[most], modelUpstream, 2)
	}
}

// send enqueues a call of the model, unless it is in the queue already.
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

// checkAlone checks that no other call is made at the same time as a call that must be made
// alone. Others may start after the longest time that the call may take.
func (f *fleet) checkAlone(s *step) {
	for _, o := range f.steps {
		if o == s || o.proc != s.proc || o.over || o.lapsed || s.lapsed {
			continue
		}
		if !o.alone.IsZero() && time.Since(o.alone) < s.proc.w.shutdownTimeout() {
			f.broken("%s is made at the same time as %s, which must be made alone", s, o)
		}
	}
}

// checkCrashLoop checks that a call that ends as crash_loop was made alone by the workers
// that died.
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
		f.broken("%s ends as crash_loop after %d workers died while they made it alone, want %d", s, alone, most)
	}
}

// sentAtMost returns how many attempts a call may count. Redis may have forgotten that the
// answer to a send parked the call.
func (f *fleet) sentAtMost(c *modelCall, generation int) int {
	if f.amnesia {
		return c.sent[generation]
	}
	return c.spent[generation]
}
