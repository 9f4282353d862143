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

// dequeueKeys is what is the same in all requests for the calls of an account.
type dequeueKeys struct {
	queues, limits []string
	run            *redislua.Prepared
	prefixes       []string // of the tasks and records of each queue
}

// keysToDequeue returns the keys of a request. They are made once for each account: a worker
// always asks for the same queues.
func (d *Dispatcher) keysToDequeue(a *DequeueRequest) *dequeueKeys {
	if known, ok := d.asked.Load(a.Queues[0]); ok {
		if known := known.(*dequeueKeys); slices.Equal(known.queues, a.Queues) && slices.Equal(known.limits, a.Limits.Keys) {
			return known
		}
	}
	account := keysOf(a.Queues[0])
	if !d.clustered {
		account = keysOf(redislua.UpstreamOf(a.Queues[0]))
	}
	made := &dequeueKeys{queues: slices.Clone(a.Queues), limits: slices.Clone(a.Limits.Keys)}
	keys := append(make([]string, 0, 5+6*len(a.Queues)), account.circuit())
	if len(a.Limits.Keys) > 0 {
		keys = append(keys, a.Limits.Keys...)
	} else {
		keys = append(keys, keys[0], keys[0], keys[0]) // not read
	}
	for _, queue := range a.Queues {
		k := keysOf(queue)
		keys = append(keys, k.pending(), k.paused(), k.active(), k.lease(), k.scheduled(), k.retry())
		made.prefixes = append(made.prefixes, k.taskPrefix(), k.recordPrefix())
	}
	made.run = redislua.Prepare(d.dequeue, append(keys, account.asked(d.name))...)
	d.asked.Store(a.Queues[0], made)
	return made
}

// command returns the script's arguments for a request.
func (k *dequeueKeys) command(a *DequeueRequest, worker string, number int64) []any {
	wanted := strconv.AppendInt(make([]byte, 0, 1+len(a.More)), int64(a.First)+1, 10)
	for _, first := range a.More {
		wanted = strconv.AppendInt(wanted, int64(first)+1, 10)
	}
	probe := ""
	if a.Probe != nil {
		probe = strconv.Itoa(slices.Index(a.Queues, a.Probe.Queue)+1) + " " + a.Probe.ID
	}
	command := append(k.run.Command(make([]any, 0, 64)), a.LeaseUntil, a.Turn.Milliseconds(), wanted, a.Concurrency, a.Elsewhere, redislua.Flag(a.Idle), probe)
	for i := range k.prefixes {
		command = append(command, &k.prefixes[i])
	}
	if len(a.Limits.Args) > 0 {
		command = append(command, a.Limits.Args...)
	} else {
		command = append(command, "", 0)
	}
	return append(command, worker, number)
}

// Dequeue moves the next call, or the next few, to active. A caller that asks for more
// than one must have only one such request at a time.
func (d *Dispatcher) Dequeue(ctx context.Context, a DequeueRequest) (Dequeued, error) {
	keys := d.keysToDequeue(&a)
	asked := time.Now()
	reply, err := keys.run.Run(ctx, d.rdb, keys.command(&a, d.name, d.requests.Load())).Slice()
	if err != nil {
		return Dequeued{}, err // the next request is the same one
	}
	d.requests.Add(1)
	return dequeuedFrom(a.Queues, asked, reply)
}

// dequeuedFrom reads the reply of lua/dequeue.lua.
func dequeuedFrom(queues []string, asked time.Time, reply []any) (got Dequeued, err error) {
	switch redislua.Number(reply[0]) {
	case 0:
		got.Held = time.Duration(redislua.Number(reply[1])) * time.Millisecond
		if len(reply) > 2 {
			got.HeldBy = redislua.Text(reply[2])
		}
	case 2:
		got.Full = true
	case 3:
		got.Empty = true
		if due := redislua.Number(reply[1]); due > 0 {
			got.NextDue = time.Unix(due, 0)
		}
	case 4:
		got.Message = redislua.Text(reply[1])
		got.ToRedrive = &Record{ID: redislua.Text(reply[2]), Queue: queues[redislua.Number(reply[3])-1]}
	case 5:
		got.Choose = choiceFrom(queues, reply)
	default:
		list, err := deliveriesFrom(queues, asked, reply)
		if err != nil {
			return got, err
		}
		got.Delivery, got.More = list[0], list[1:]
	}
	return got, nil
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
