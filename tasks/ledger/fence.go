package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// A Redis that was restored from a copy, or a replica that took over, may have
// forgotten that calls were sent: they are open there, without a mark, and would be
// sent again. So each mark has a number, and the scripts count the lives of Redis: a
// new process begins a new life, at the highest number that it has. Each worker
// remembers its own marks, and gives back those that Redis has forgotten before it
// makes another one. If marks are missing that no worker gives back, since their worker
// has died, the fence closes: see lua/fence.lua. If Redis does not report its process
// id, a worker that has seen a higher number still notices.

const (
	// fenceGather is for how long workers give marks back after a new life began; they
	// ask every half second. The clients of a Cluster can take some seconds to find the
	// new master.
	fenceGather        = 3 * time.Second
	fenceGatherCluster = 10 * time.Second
	// fenceRetry is the earliest time after which a call that met a fence is tried
	// again.
	fenceRetry = time.Second
	// maxGivenBack is how many marks one script writes.
	maxGivenBack = 200
)

// FenceState is the state of a queue's fence.
type FenceState struct {
	Queue string
	// Life is the name of the present life of Redis.
	Life string
	// Made is how many marks were made, Base how many of them Redis had when this life
	// began, Top the highest count that any worker has seen, and Given how many of
	// those between Base and Top workers have given back.
	Made, Base, Top, Given int64
	// Since is when this life began. Shut is since when calls that must not be sent
	// twice are not sent, zero if they are sent.
	Since, Shut time.Time
	// Wait is for how long workers still give back; Closed reports that marks are
	// missing, and none is made until they are given back or a person accepts the loss.
	// One of the two is set if the fence is shut.
	Wait   time.Duration
	Closed bool
	// Run is the process of Redis in which this life began, empty if Redis does not
	// report it.
	Run string
}

// Missing is how many marks no worker has given back.
func (s FenceState) Missing() int64 { return max(s.Top-s.Base-s.Given, 0) }

// FenceError reports that a call which must not be sent twice may not be sent now,
// since Redis may have forgotten that calls were sent.
type FenceError struct {
	// Wait is the time after which to try again.
	Wait time.Duration
	// Closed reports that a person has to open the fence.
	Closed bool
}

func (e *FenceError) Error() string {
	if e.Closed {
		return "Redis has gone back in time, and it is not known which calls were sent: run callq doctor"
	}
	return "Redis was started again or has failed over: workers restore the marks of sent calls that it may have forgotten"
}

func (s store) gather() time.Duration {
	if s.clustered {
		return fenceGatherCluster
	}
	return fenceGather
}

// askFences asks Redis about fences, and has it record a new life. who is the person
// who accepts that marks may be lost; empty if no person does.
func (s store) askFences(ctx context.Context, gather time.Duration, who string, seen func(queue string) int64, queues ...string) ([]FenceState, error) {
	if len(queues) == 0 {
		return nil, nil
	}
	if s.clustered && len(queues) > 1 {
		var list []FenceState
		for _, queue := range queues {
			one, err := s.askFences(ctx, gather, who, seen, queue)
			if err != nil {
				return list, err
			}
			list = append(list, one...)
		}
		return list, nil
	}
	keys, args := make([]string, 0, len(queues)), []any{gather.Milliseconds(), who}
	for _, queue := range queues {
		keys, args = append(keys, keysOf(queue).fence()), append(args, seen(queue))
	}
	reply, err := scriptFence.Run(ctx, s.rdb, keys, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("ask about the fence of queue %q: %w", queues[0], err)
	}
	list := make([]FenceState, len(queues))
	for i, one := range reply {
		f := one.([]any)
		list[i] = FenceState{
			Queue: queues[i], Life: redislua.Text(f[0]), Made: redislua.Number(f[1]), Base: redislua.Number(f[2]), Top: redislua.Number(f[3]), Given: redislua.Number(f[4]),
			Since: redislua.Milli(redislua.Text(f[5])),
		}
		switch wait := redislua.Number(f[7]); {
		case wait > 0:
			list[i].Wait, list[i].Shut = time.Duration(wait)*time.Millisecond, redislua.Milli(redislua.Text(f[6]))
		case wait < 0:
			list[i].Closed, list[i].Shut = true, redislua.Milli(redislua.Text(f[6]))
		}
	}
	return list, nil
}

// errNewLife reports that another life began while marks were given back.
var errNewLife = errors.New("Redis was started again")

// checkFences asks about fences, and gives back to each new life what it may have
// forgotten.
func (d *Dispatcher) checkFences(ctx context.Context, queues ...string) error {
	select {
	case d.marks.asking <- struct{}{}:
		defer func() { <-d.marks.asking }()
	case <-ctx.Done():
		return ctx.Err()
	}
	seen := func(queue string) int64 { return d.marks.known(queue).seen }
	states, err := d.askFences(ctx, d.gather(), "", seen, queues...)
	if err != nil {
		return err
	}
	var fresh []string
	for _, s := range states {
		shut := s.Closed || s.Wait > 0
		if d.marks.known(s.Queue).life != s.Life || shut && d.marks.stale(s.Queue, s.Top) {
			err = errors.Join(err, d.giveBack(ctx, s))
			fresh = append(fresh, s.Queue)
		}
		d.marks.learn(s.Queue, s)
	}
	if err != nil || len(fresh) == 0 {
		return err
	}
	// The marks just given back may have been the last missing ones.
	if states, err = d.askFences(ctx, d.gather(), "", seen, fresh...); err != nil {
		return err
	}
	for _, s := range states {
		d.marks.learn(s.Queue, s)
	}
	return nil
}

// giveBack restores the endings and the marks of this process that a new life does not
// have, and goes on in that life.
func (d *Dispatcher) giveBack(ctx context.Context, s FenceState) error {
	k := keysOf(s.Queue)
	if d.marks.known(s.Queue).life != "" { // this process has seen the life before
		if err := d.restoreEndings(ctx, s.Queue); err != nil {
			return fmt.Errorf("record endings of queue %q that Redis has forgotten: %w", s.Queue, err)
		}
	}
	for {
		list, accounted, changes := d.marks.missing(s.Queue, s.Base, s.Top)
		for {
			n := min(len(list), maxGivenBack)
			var count any = ""
			if n == len(list) {
				count = accounted
			}
			args := append(make([]any, 0, 4+5*n), k.recordPrefix(), s.Life, d.marks.name, count)
			for _, mark := range list[:n] {
				args = append(args, mark.id, mark.generation, mark.attempt, mark.token, mark.number)
			}
			written, err := scriptGiveBack.Run(ctx, d.rdb, []string{k.fence()}, args...).Int64()
			if err != nil {
				return fmt.Errorf("give back marks to queue %q: %w", s.Queue, err)
			}
			if written < 0 {
				return errNewLife
			}
			if list = list[n:]; len(list) == 0 {
				break
			}
		}
		if d.marks.enter(s.Queue, s.Life, s.Top, changes) {
			return nil
		}
	}
}

// WatchFences finds out whether Redis has gone back in time, and gives back the marks
// of this process that it has forgotten. It must be called every half second while the
// process makes calls.
func (d *Dispatcher) WatchFences(ctx context.Context) error {
	return d.checkFences(ctx, d.marks.seenQueues()...)
}

// FenceShut returns an error if, as far as this process has seen, calls of a queue that
// must not be sent twice may not be sent now.
func (d *Dispatcher) FenceShut(queue string) error {
	d.marks.mu.Lock()
	defer d.marks.mu.Unlock()
	q := d.marks.queues[queue]
	if q == nil || q.shut.IsZero() {
		return nil
	}
	return &FenceError{Wait: max(time.Until(q.shut), fenceRetry), Closed: q.closed}
}

// mark makes a mark in the life in which this process makes marks.
func (d *Dispatcher) mark(ctx context.Context, t *Delivery, attempt, probe string) (m *markRequest, err error) {
	for range 3 {
		m = &markRequest{place: newPlace(), delivery: t, attempt: attempt, probe: probe, known: d.marks.known(t.Queue), code: -2}
		known := m.known
		if known.life != "" || attempt == "" {
			err = d.marker(t.Queue).ask(ctx, m)
		}
		if err != nil && attempt != "" {
			d.marks.doubt(t.Queue, known)
		}
		if err != nil || m.code != -2 {
			return m, err
		}
		if err := d.checkFences(ctx, t.Queue); err != nil && !errors.Is(err, errNewLife) {
			return nil, err
		}
		if d.marks.known(t.Queue).life != known.life {
			// The script may have run twice, the first time on a Redis that ended then.
			d.marks.doubt(t.Queue, known)
		}
		if shut := d.FenceShut(t.Queue); shut != nil {
			return nil, shut
		}
	}
	return nil, &FenceError{Wait: fenceRetry}
}

// States returns the fences of queues, and changes nothing. A queue that never had a
// call has none.
func (f *Fences) States(ctx context.Context, queues ...string) ([]FenceState, error) {
	now, err := f.rdb.Time(ctx).Result()
	if err != nil {
		return nil, err
	}
	pipe := f.rdb.Pipeline()
	cmds := make([]*redis.MapStringStringCmd, len(queues))
	for i, queue := range queues {
		cmds[i] = pipe.HGetAll(ctx, keysOf(queue).fence())
	}
	if pipe.Len() > 0 {
		if err := exec(ctx, pipe); err != nil {
			return nil, fmt.Errorf("read fences: %w", err)
		}
	}
	var list []FenceState
	for i, cmd := range cmds {
		if s := fenceFrom(queues[i], cmd.Val(), now, f.gather()); s.Life != "" {
			list = append(list, s)
		}
	}
	return list, nil
}

// fenceFrom parses a fence. now is Redis's clock.
func fenceFrom(queue string, h map[string]string, now time.Time, gather time.Duration) FenceState {
	s := FenceState{
		Queue: queue, Life: h["life"], Run: h["run"], Made: redislua.Integer(h["n"]), Base: redislua.Integer(h["base"]), Top: redislua.Integer(h["top"]),
		Since: redislua.Milli(h["since"]),
	}
	if h["open"] == "1" || s.Life == "" {
		return s
	}
	for field, count := range h {
		if len(field) > 2 && field[:2] == "g:" {
			s.Given += redislua.Integer(count)
		}
	}
	s.Shut = redislua.Milli(h["shut"])
	if s.Wait = gather - now.Sub(s.Since); s.Wait <= 0 || s.Wait > gather {
		s.Wait, s.Closed = 0, s.Missing() > 0
	}
	return s
}

// AcceptLoss opens the fences of queues, whatever marks are missing, once workers have
// had the time to give theirs back: it waits for that. who is the person who accepts
// the loss. It also opens the fences of a Redis that was restored and that no worker
// has used since.
func (f *Fences) AcceptLoss(ctx context.Context, who string, queues ...string) error {
	none := func(string) int64 { return 0 }
	for {
		states, err := f.askFences(ctx, f.gather(), who, none, queues...)
		if err != nil {
			return err
		}
		wait := time.Duration(0)
		for _, s := range states {
			wait = max(wait, s.Wait)
		}
		if wait == 0 {
			return nil
		}
		select {
		case <-time.After(wait + time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// GivenBack reports whether a mark was given back to the record of a call after it was
// taken: the call may have been sent, by a worker that Redis has forgotten. t then has
// that mark.
func (d *Dispatcher) GivenBack(ctx context.Context, t *Delivery) (bool, error) {
	r, err := d.rdb.HMGet(ctx, keysOf(t.Queue).record(t.ID), "state", "gen", "starts", "given", "sent", "mark").Result()
	if err != nil {
		return false, fmt.Errorf("read whether call %s was sent: %w", t.ID, err)
	}
	if State(redislua.Text(r[0])) != Open || count(redislua.Text(r[1])) != t.Generation || redislua.Integer(redislua.Text(r[2])) != t.Token || redislua.Text(r[3]) != "1" {
		return false, nil
	}
	t.Sent, t.Mark = count(redislua.Text(r[4])), redislua.Text(r[5])
	return t.Sent > 0, nil
}

// Unmarked yields the open calls of a batch that have no mark: the ledger does not show
// that they were sent.
func (l *Ledger) Unmarked(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, "*", id, func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error] {
		rows, err := l.fields(ctx, queue, ids, "state", "sent")
		if err != nil {
			return func(yield func(Record, error) bool) { yield(Record{}, err) }
		}
		var open []string
		for i, row := range rows {
			if State(row[0]) == Open && row[1] == "" {
				open = append(open, ids[i])
			}
		}
		return l.each(ctx, queue, open)
	})
}

// OpenWithoutWait begins a new life of Redis for queues of which no living process has
// marks, so that it waits for no process. A fence that is closed stays closed.
func (f *Fences) OpenWithoutWait(ctx context.Context, queues ...string) error {
	none := func(string) int64 { return 0 }
	_, err := f.askFences(ctx, 0, "", none, queues...)
	return err
}
