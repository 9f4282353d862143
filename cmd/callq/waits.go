package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

const (
	// waitsEvery is how often it is asked why calls wait.
	waitsEvery = 3 * time.Second
	// waitsFor is for how long a reason stands before it is said, waitsToldFor the
	// same for those of which the watch has told already.
	waitsFor     = 2 * time.Second
	waitsToldFor = 8 * time.Second
	// waitsShort is what is over before one has read of it.
	waitsShort = 5 * time.Second
)

// waits tells why calls wait, as package waiting decides it.
type waits struct {
	desk  *desk
	query waiting.Query
	// say tells a line.
	say func(line string)
	// watched reports that a [watch] beside it tells of circuits and limits at once.
	watched bool

	asked   time.Time
	reasons []waiting.Reason
	now     time.Time // Redis's clock when they were read
	known   map[waitKey]*knownWait
}

// waitKey tells reasons apart, whatever their numbers.
type waitKey struct {
	kind waiting.Kind
	name string
}

type knownWait struct {
	since time.Time // by this machine's clock
	said  bool
	last  waiting.Reason
	seen  bool
}

// newWaits makes a teller. here reports that this process makes the calls of its
// upstreams; batches are those that are asked about, none for all calls.
func (a *app) newWaits(d *desk, here bool, say func(string), batches ...string) *waits {
	return &waits{desk: d, query: waiting.Query{Configured: configured(d.cfg), Here: here, Batches: batches, Where: a.where(), MaxMemory: d.cfg.Ledger.MaxMemory}, say: say}
}

// configured are the upstreams of a configuration with their concurrency.
func configured(cfg *config.Config) map[string]int {
	names := map[string]int{}
	for _, u := range cfg.Upstreams {
		names[u.Name] = u.Concurrency
	}
	return names
}

// look asks why calls wait, if it is time to, and says what is new.
func (w *waits) look(ctx context.Context, now time.Time) {
	if now.Sub(w.asked) < waitsEvery {
		return
	}
	w.asked = now
	facts, err := w.read(ctx)
	if err != nil {
		return // who calls meets the same, and says it
	}
	w.tell(facts, now)
}

// read takes the facts out of Redis.
func (w *waits) read(ctx context.Context) (waiting.Facts, error) {
	return waiting.Read(ctx, w.desk.conn.Client, w.query)
}

func (w *waits) decide(facts waiting.Facts) { w.reasons, w.now = waiting.Decide(facts), facts.Now }

// tell decides, and says what is new.
func (w *waits) tell(facts waiting.Facts, now time.Time) {
	if w.known == nil {
		w.known = map[waitKey]*knownWait{}
	}
	w.decide(facts)
	for _, k := range w.known {
		k.seen = false
	}
	for _, r := range w.reasons {
		key := waitKey{r.Kind, r.Name}
		k := w.known[key]
		if k == nil {
			k = &knownWait{since: now}
			w.known[key] = k
		}
		k.last, k.seen = r, true
		if !k.said && now.Sub(k.since) >= w.patience(r) && worthSaying(r, facts.Now) {
			k.said = true
			w.say(r.Text(facts.Now))
		}
	}
	for key, k := range w.known {
		if k.seen {
			continue
		}
		delete(w.known, key)
		if k.said && !w.toldElsewhere(key.kind) {
			w.say(k.last.Over())
		}
	}
}

// patience is for how long a reason stands before it is said.
func (w *waits) patience(r waiting.Reason) time.Duration {
	switch {
	case r.Kind == waiting.NoWorker && !w.query.Here:
		return 0
	case w.toldElsewhere(r.Kind):
		return waitsToldFor
	}
	return waitsFor
}

func (w *waits) toldElsewhere(kind waiting.Kind) bool {
	switch kind {
	case waiting.Hold, waiting.Probe, waiting.Unreachable, waiting.Endpoint, waiting.Limit, waiting.Budget:
		return w.watched
	}
	return false
}

// worthSaying reports whether a reason is one of those that a person wants to know of:
// not one that is over at once, nor that of a few calls while others are made.
func worthSaying(r waiting.Reason, now time.Time) bool {
	switch r.Kind {
	case waiting.Concurrency:
		return false
	case waiting.Backoff:
		return !r.Some && r.Stands(now, waitsShort)
	}
	return r.Stands(now, waitsShort)
}

// brief says in few words what the calls wait for, where none is made or some will
// only be made much later; empty where calls are made. still tells that nothing ends.
func (w *waits) brief(still bool) string {
	for _, r := range w.reasons {
		if worthSaying(r, w.now) && (!r.Some || r.Kind == waiting.NotBefore) || still && r.Kind == waiting.Concurrency {
			return r.Brief(w.now)
		}
	}
	return ""
}

// passes reports whether a trouble with Redis passes, so that a command that waits goes
// on waiting.
func passes(err error) bool {
	var told *redisinfo.Error
	if !errors.As(err, &told) {
		return false
	}
	switch told.Kind {
	case redisinfo.KindUnreachable, redisinfo.KindLost, redisinfo.KindTimeout, redisinfo.KindLoading, redisinfo.KindBusy, redisinfo.KindCluster, redisinfo.KindReplica, redisinfo.KindMemory, redisinfo.KindDisk:
		return true
	}
	return false
}

// whyWaits asks once why the open calls of a batch wait.
func (a *app) whyWaits(ctx context.Context, d *desk, b ledger.Batch) (*waits, error) {
	w := a.newWaits(d, false, nil, b.Name)
	if b.Counts.Open == 0 {
		return w, nil
	}
	facts, err := w.read(ctx)
	if err == nil {
		w.decide(facts)
	}
	return w, err
}

// print writes the reasons, one a line.
func (w *waits) print(to io.Writer) error {
	text := &errWriter{w: to}
	for _, r := range w.reasons {
		fmt.Fprintln(text, printable(r.Text(w.now)))
	}
	return text.err
}

// checkWaits looks for calls that wait for what no other check names.
func checkWaits(ctx context.Context, d *doctor) ([]diagnosis, error) {
	w := d.newWaits(d.desk, false, nil)
	facts, err := w.read(ctx)
	if err != nil {
		return nil, err
	}
	var list []diagnosis
	for _, r := range waiting.Decide(facts) {
		one := diagnosis{Status: noted}
		switch r.Kind {
		case waiting.NoUpstream, waiting.Redis:
			one.Status = found
		case waiting.LostLease, waiting.NotBefore:
		case waiting.NoWorker: // the check of workers names those who have none at all
			if len(facts.Upstreams) > 0 && facts.Upstreams[0].Others == 0 {
				continue
			}
		case waiting.Backoff:
			if !r.Stands(facts.Now, time.Minute) {
				continue
			}
		default:
			continue // circuits and queues have checks of their own, and the rest passes
		}
		one.Fix = r.Todo
		r.Todo = ""
		one.Detail = r.Text(facts.Now)
		list = append(list, one)
	}
	return orWell(list, "no call waits for what is not said above"), nil
}
