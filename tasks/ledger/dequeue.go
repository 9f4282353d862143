package ledger

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

// Delivery is a call that a worker has taken, as the dequeue found it.
type Delivery struct {
	Record
	// Message is asynq's encoding of the task.
	Message string
	// At is Redis's clock when the call was taken. Asked and Received are this
	// process's clock when it sent the request and when it got the reply.
	At, Asked, Received time.Time
	// Known is false when the task has no record, or one without a batch: another
	// program put it there.
	Known bool
	// Circuit is the account's circuit, read by the same script.
	Circuit CircuitView
	// Slot is the call's slot under its account's limits, in microseconds since 1970 by
	// Redis's clock; 0 without limits. Due is the same by the clock of this process,
	// zero if the slot is now. Money is what was reserved, in millionths.
	Slot  int64
	Due   time.Time
	Money int64
	// Corrupt names a field of the record that callq cannot have written; empty if
	// there is none. See [Repairer.Repair].
	Corrupt string
	// Token distinguishes this delivery of the call from any later one: a worker that
	// does not hold the call any more must not put it back.
	Token int64
	// Mark distinguishes the mark of this delivery's send from that of another one, or
	// is that of an earlier one which the record had when the call was taken; empty if
	// there is none.
	Mark string
	// MaybeSent is how many requests earlier workers may have sent, at most, that took the
	// call and recorded nothing. It is written with what becomes of this delivery.
	MaybeSent int
	// Verifying reports that the API is asked whether the call took effect: the counts of
	// that, and Sent, are written with the next attempt.
	Verifying bool
	// number is the number of the mark that this delivery has made; 0: none.
	number int64
}

// CircuitView is what a dequeue returns about the account's circuit.
type CircuitView struct {
	// Epoch is the circuit's epoch that admitted the call.
	Epoch int64
	// AfterHold reports that a hold is over and this one call was delivered: it must
	// not be made without the probe.
	AfterHold bool
	// Streak is how many account failures came in a row; any other answer resets it.
	Streak int
	// Endpoints is how many circuits of single endpoints are not closed.
	Endpoints int
	// Held is how long the account was held in total, until now.
	Held time.Duration
	// AllRefused reports, for the one call that was delivered after a hold, that every
	// waiting call has been refused since the account's last good answer.
	AllRefused bool
	// Convicted names the calls that end when their turn comes, since they are refused
	// whatever the account's state; see worker/circuit.
	Convicted string
}

// Limits are an account's limits, in the form that the Lua function limits reads.
type Limits struct {
	// Keys are the three keys of its state.
	Keys []string
	// Args name the rules, say how many they are, and describe them.
	Args []any
}

// DequeueRequest is a worker's request for the next call of an upstream.
type DequeueRequest struct {
	// Queues are the queues to ask, the most urgent first: all of one upstream, or on a
	// Cluster one of them.
	Queues []string
	// First is the index of the queue to ask first.
	First int
	// More are the same indexes for further calls, wanted if there are as many and
	// their account may make them.
	More []int
	// LeaseUntil is the end of asynq's lease, as asynq set it.
	LeaseUntil any
	// Turn is for how long one call that was delivered after a hold keeps the others
	// waiting.
	Turn time.Duration
	// Concurrency is how many calls may be inflight, 0 for any number; Elsewhere is how
	// many are inflight from queues that are not asked.
	Concurrency, Elsewhere int
	// Idle reports that the queues were empty last time, and probably still are.
	Idle bool
	// Probe is the candidate that is to be the probe after a hold; nil until the worker
	// has chosen one.
	Probe *Candidate
	// Limits of the account.
	Limits Limits
}

// Dequeued is the reply to a [DequeueRequest].
type Dequeued struct {
	// Delivery is the call, nil if there is none; More are further ones.
	Delivery *Delivery
	More     []*Delivery
	// ToRedrive is a dead letter that asynq's tools have run, so that it is to be
	// redriven, or else passed to [Repairer.Rearchive]; until then every dequeue meets
	// it again. Its ID and Queue are set. Message is asynq's encoding of it.
	ToRedrive *Record
	Message   string
	// Choose is set if a hold is over and the worker is to choose the probe; it then
	// asks once more.
	Choose *ProbeChoice
	// Held is how long the account must not call; 0 when there is no call. HeldBy is limit
	// or budget if such a rule begins to hold the account with this request.
	Held   time.Duration
	HeldBy string
	// Full reports that as many calls are inflight as may be.
	Full bool
	// Empty reports that no call is pending; NextDue is when asynq is to move the next
	// delayed one, zero if there is none.
	Empty   bool
	NextDue time.Time
}

// ProbeChoice is what a worker needs to choose the next probe.
type ProbeChoice struct {
	// Refused are the calls that were refused since the account's last good answer, the
	// latest last; RefusedAt is the endpoint of the latest.
	Refused   []string
	RefusedAt string
	// Next is the call that has to be the next probe; empty: any call but the last one
	// that was refused.
	Next string
	// Failed is how many probes failed in a row.
	Failed int
	// Candidates are waiting calls, the first ones of each queue first.
	Candidates []Candidate
}

// Candidate is a call that can be the next probe.
type Candidate struct {
	Queue, ID  string
	Generation int
	// Attempts is how many attempts the call has spent.
	Attempts int
	// Method and Path are the call's own; empty if the call is too large to decode.
	Method, Path string
}

// Dequeue moves the next call, or the next few, to active. A caller that asks for more
// than one must have only one such request at a time.
func (d *Dispatcher) Dequeue(ctx context.Context, a DequeueRequest) (Dequeued, error) {
	account := keysOf(a.Queues[0])
	if !d.clustered {
		account = keysOf(redislua.UpstreamOf(a.Queues[0]))
	}
	keys := append(make([]string, 0, 5+6*len(a.Queues)), account.circuit())
	limits := a.Limits
	if len(limits.Args) == 0 {
		limits.Args = []any{"", 0}
	}
	if len(limits.Keys) == 0 {
		limits.Keys = []string{keys[0], keys[0], keys[0]} // not read
	}
	keys = append(keys, limits.Keys...)
	args := make([]any, 0, 9+2*len(a.Queues)+len(limits.Args))
	wanted := strconv.AppendInt(make([]byte, 0, 1+len(a.More)), int64(a.First)+1, 10)
	for _, first := range a.More {
		wanted = strconv.AppendInt(wanted, int64(first)+1, 10)
	}
	probe := ""
	if a.Probe != nil {
		probe = strconv.Itoa(slices.Index(a.Queues, a.Probe.Queue)+1) + " " + a.Probe.ID
	}
	args = append(args, a.LeaseUntil, a.Turn.Milliseconds(), wanted, a.Concurrency, a.Elsewhere, redislua.Flag(a.Idle), probe)
	for _, queue := range a.Queues {
		k := keysOf(queue)
		keys = append(keys, k.pending(), k.paused(), k.active(), k.lease(), k.scheduled(), k.retry())
		args = append(args, k.taskPrefix(), k.recordPrefix())
	}
	keys = append(keys, account.asked(d.name))
	args = append(append(args, limits.Args...), d.name, d.requests.Load())
	asked := time.Now()
	reply, err := d.dequeue.Run(ctx, d.rdb, keys, args...).Slice()
	if err != nil {
		return Dequeued{}, err // the next request is the same one
	}
	d.requests.Add(1)
	switch {
	case redislua.Number(reply[0]) == 0:
		got := Dequeued{Held: time.Duration(redislua.Number(reply[1])) * time.Millisecond}
		if len(reply) > 2 {
			got.HeldBy = redislua.Text(reply[2])
		}
		return got, nil
	case redislua.Number(reply[0]) == 2:
		return Dequeued{Full: true}, nil
	case redislua.Number(reply[0]) == 3:
		got := Dequeued{Empty: true}
		if due := redislua.Number(reply[1]); due > 0 {
			got.NextDue = time.Unix(due, 0)
		}
		return got, nil
	case redislua.Number(reply[0]) == 4:
		return Dequeued{Message: redislua.Text(reply[1]), ToRedrive: &Record{ID: redislua.Text(reply[2]), Queue: a.Queues[redislua.Number(reply[3])-1]}}, nil
	}
	if redislua.Number(reply[0]) == 5 {
		return Dequeued{Choose: choiceFrom(a.Queues, reply)}, nil
	}
	list := deliveriesFrom(a.Queues, asked, reply)
	return Dequeued{Delivery: list[0], More: list[1:]}, nil
}

// NoteLimit notes beside a queue of a Cluster that a limit, kept on another node,
// allows no call for the time wait; plan names the limits.
func (d *Dispatcher) NoteLimit(ctx context.Context, queue, plan string, wait time.Duration) error {
	now, err := d.rdb.Time(ctx).Result()
	if err != nil {
		return err
	}
	return d.rdb.HSet(ctx, d.circuit(queue), "limited", now.Add(wait).UnixMilli(), "limited_plan", plan).Err()
}

// HasPending reports whether a call is pending in one of the queues that an operator
// has not paused.
func (l *Ledger) HasPending(ctx context.Context, queues ...string) (bool, error) {
	pipe := l.rdb.Pipeline()
	var pending, paused []*redis.IntCmd
	for _, queue := range queues {
		k := keysOf(queue)
		pending, paused = append(pending, pipe.LLen(ctx, k.pending())), append(paused, pipe.Exists(ctx, k.paused()))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return false, err
	}
	for i := range pending {
		if pending[i].Val() > 0 && paused[i].Val() == 0 {
			return true, nil
		}
	}
	return false, nil
}

// InFlight counts the calls of queues that workers hold.
func (l *Leases) InFlight(ctx context.Context, queues ...string) (int, error) {
	pipe := l.rdb.Pipeline()
	var counts []*redis.IntCmd
	for _, queue := range queues {
		counts = append(counts, pipe.LLen(ctx, keysOf(queue).active()))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return 0, err
	}
	n := 0
	for _, count := range counts {
		n += int(count.Val())
	}
	return n, nil
}

func choiceFrom(queues []string, reply []any) *ProbeChoice {
	c := &ProbeChoice{
		Refused: strings.Fields(redislua.Text(reply[1])), RefusedAt: redislua.Text(reply[2]), Next: redislua.Text(reply[3]), Failed: int(redislua.Number(reply[4])),
	}
	for _, one := range reply[5:] {
		fields := one.([]any)
		c.Candidates = append(c.Candidates, Candidate{
			Queue: queues[redislua.Number(fields[0])-1], ID: redislua.Text(fields[1]), Generation: count(redislua.Text(fields[2])),
			Method: redislua.Text(fields[3]), Path: redislua.Text(fields[4]), Attempts: count(redislua.Text(fields[5])),
		})
	}
	return c
}

func deliveriesFrom(queues []string, asked time.Time, reply []any) []*Delivery {
	received, at := time.Now(), time.UnixMilli(redislua.Number(reply[1])).UTC()
	circuit := CircuitView{
		AfterHold: redislua.Number(reply[2]) == 1, Epoch: redislua.Number(reply[3]), Streak: int(redislua.Number(reply[4])),
		Endpoints: int(redislua.Number(reply[5])), Held: time.Duration(redislua.Number(reply[6])) * time.Millisecond,
		Convicted: redislua.Text(reply[7]),
	}
	list := make([]*Delivery, 0, len(reply)-8)
	for _, one := range reply[8:] {
		call := one.([]any)
		h := redislua.Hash(call[7])
		t := &Delivery{
			Record:  recordFromHash(queues[redislua.Number(call[2])-1], redislua.Text(call[1]), h),
			Message: redislua.Text(call[0]), At: at, Asked: asked, Received: received, Known: h["batch"] != "", Circuit: circuit,
			Slot: redislua.Number(call[4]), Money: redislua.Number(call[6]),
			// The record was read before the script counted this start.
			Token: redislua.Number(call[3]), Mark: h["mark"],
		}
		if t.Known {
			t.Corrupt = corrupt(h)
		}
		t.MaybeSent = t.Starts
		t.Starts++
		if wait := time.Duration(redislua.Number(call[5])) * time.Microsecond; wait > 0 {
			t.Due = received.Add(wait)
		}
		list = append(list, t)
	}
	return list
}
