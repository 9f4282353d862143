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
// sent again. So each mark has a number, and Redis knows its own lives: another
// process begins a new one, at the highest number that it knows. Each worker
// remembers its own marks, and gives back those that Redis has forgotten before it
// makes another one. Where marks are missing that nobody gives back, as their worker
// has died, the fence closes: see lua/fence.lua. Where Redis does not tell which
// process it is, a worker that has seen a higher number still notices.

const (
	// fenceGather is for how long workers give marks back after a new life began; they
	// ask each half second. The clients of a Cluster can take some seconds to find the
	// new master.
	fenceGather        = 3 * time.Second
	fenceGatherCluster = 10 * time.Second
	// fenceAgain is when a call that met a fence comes back at the earliest.
	fenceAgain = time.Second
	// giveBackAtOnce is how many marks one script writes.
	giveBackAtOnce = 200
)

// FenceState is what Redis says of the fence of a queue.
type FenceState struct {
	Queue string
	// Life names the present life of Redis.
	Life string
	// Made is how many marks were made; Base how many of them Redis knew when this life
	// began, Top how many anybody has seen, and Given how many of those between workers
	// have given back.
	Made, Base, Top, Given int64
	// Since is when this life began. Shut is since when no call that must not be sent
	// twice starts, zero where they do.
	Since, Shut time.Time
	// Wait is for how long workers still give back; Closed tells that marks are
	// missing, and none is made until they are given back or a person accepts it. One
	// of both is set where the fence is shut.
	Wait   time.Duration
	Closed bool
	// Run is the process of Redis in which this life began, empty where Redis does not
	// tell.
	Run string
}

// Missing is how many marks nobody has given back.
func (s FenceState) Missing() int64 { return max(s.Top-s.Base-s.Given, 0) }

// FenceError says that a call which must not be sent twice may not be sent now, as
// Redis may have forgotten that calls were sent.
type FenceError struct {
	// Wait is after which time to try again.
	Wait time.Duration
	// Closed tells that a person has to open the fence.
	Closed bool
}

func (e *FenceError) Error() string {
	if e.Closed {
		return "Redis has gone back in time, and it is not known which calls were sent: callq doctor says what to do"
	}
	return "Redis was started again or has failed over: workers give back what it may have forgotten"
}

func (s store) gather() time.Duration {
	if s.clustered {
		return fenceGatherCluster
	}
	return fenceGather
}

// askFences asks Redis about fences, and has it note a new life. who accepts that
// marks may be lost; empty for nobody.
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

// errNewLife says that another life began while marks were given back.
var errNewLife = errors.New("Redis was started again")

// lookAtFences asks about fences, and gives back to each new life what it may have
// forgotten.
func (d *Dispatcher) lookAtFences(ctx context.Context, queues ...string) error {
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
	// What was given back may have been the last that was missing.
	if states, err = d.askFences(ctx, d.gather(), "", seen, fresh...); err != nil {
		return err
	}
	for _, s := range states {
		d.marks.learn(s.Queue, s)
	}
	return nil
}

// giveBack tells a new life of the endings and the marks of this process that it does not
// know, and goes on in that life.
func (d *Dispatcher) giveBack(ctx context.Context, s FenceState) error {
	k := keysOf(s.Queue)
	if d.marks.known(s.Queue).life != "" { // this process has seen the one before
		if err := d.restoreEndings(ctx, s.Queue); err != nil {
			return fmt.Errorf("record endings of queue %q that Redis has forgotten: %w", s.Queue, err)
		}
	}
	for {
		list, accounted, changes := d.marks.missing(s.Queue, s.Base, s.Top)
		for {
			n := min(len(list), giveBackAtOnce)
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

// WatchFences learns whether Redis has gone back in time, and gives back what it has
// forgotten of the marks that this process made. It is to be called each half second,
// as long as the process makes calls.
func (d *Dispatcher) WatchFences(ctx context.Context) error {
	return d.lookAtFences(ctx, d.marks.asked()...)
}

// FenceShut tells, as far as this process knows, that a call of a queue which must not
// be sent twice may not be sent now; nil: it may.
func (d *Dispatcher) FenceShut(queue string) error {
	d.marks.mu.Lock()
	defer d.marks.mu.Unlock()
	q := d.marks.queues[queue]
	if q == nil || q.shut.IsZero() {
		return nil
	}
	return &FenceError{Wait: max(time.Until(q.shut), fenceAgain), Closed: q.closed}
}

// mark makes a mark in the life that this process knows, and returns that.
func (d *Dispatcher) mark(ctx context.Context, t *Delivery, attempt, probe string, decides int) (reply []int64, life string, err error) {
	k := keysOf(t.Queue)
	for range 3 {
		known := d.marks.known(t.Queue)
		reply = []int64{-2}
		if known.life != "" || attempt == "" {
			reply, err = scriptMark.Run(ctx, d.rdb, []string{k.record(t.ID), d.circuit(t.Queue), k.task(t.ID), k.fence()},
				t.Generation, attempt, probe, t.Circuit.Epoch, t.Token, decides, t.Mark, known.life, known.seen).Int64Slice()
		}
		if err != nil && attempt != "" {
			d.marks.doubt(t.Queue, known)
		}
		if err != nil || reply[0] != -2 {
			return reply, known.life, err
		}
		if err := d.lookAtFences(ctx, t.Queue); err != nil && !errors.Is(err, errNewLife) {
			return nil, "", err
		}
		if d.marks.known(t.Queue).life != known.life {
			// The script may have been sent twice, the first time to a Redis that carried
			// it out and ended then.
			d.marks.doubt(t.Queue, known)
		}
		if shut := d.FenceShut(t.Queue); shut != nil {
			return nil, "", shut
		}
	}
	return nil, "", &FenceError{Wait: fenceAgain}
}

// States tells of the fences of queues, and changes nothing. A queue that never had a
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

// fenceFrom reads a fence. now is Redis's clock.
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
// had the time to give theirs back: it waits for that. who is the person who says so.
// It is for a Redis that was restored, too, of which no worker knows.
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

// GivenBack tells that a mark was given back to the record of a call after it was taken:
// it may have been sent, by a worker that Redis has forgotten. t then has that mark.
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

// Unmarked yields the open calls of a batch that have no mark: nothing says that they
// were sent.
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

// OpenAlone begins a new life of Redis for queues that no living process has marks of:
// nobody has to be waited for. A fence that is closed stays so.
func (f *Fences) OpenAlone(ctx context.Context, queues ...string) error {
	none := func(string) int64 { return 0 }
	_, err := f.askFences(ctx, 0, "", none, queues...)
	return err
}
