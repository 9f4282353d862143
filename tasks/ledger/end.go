package ledger

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
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
	if err := d.finisher(t.Queue).ask(ctx, e); err != nil {
		return 0, false, fmt.Errorf("record the ending of call %s: %w", t.ID, err)
	}
	if e.applied {
		d.last.remember(t, e)
	}
	return e.streak, e.applied, nil
}

// closing is a call's ending on its way to Redis, in the terms of lua/end.lua.
type closing struct {
	place
	id, batch  string
	generation int
	state      string
	// group and description are set for a dead letter.
	group, description string
	log, out           string
	hasBody            bool
	body               []byte
	bodyType           string
	// more are further pairs of record field and value.
	more []any
	// weight is how many bytes of text it has.
	weight int

	streak  int
	applied bool
}

// textBuffers has *[]byte in which closingOf writes JSON.
var textBuffers = sync.Pool{New: func() any { return new([]byte) }}

func closingOf(t *Delivery, f Final, a *Attempt) (*closing, error) {
	buffer := textBuffers.Get().(*[]byte)
	defer textBuffers.Put(buffer)
	text, err := appendLogJSON((*buffer)[:0], t.Log, a)
	if err != nil {
		return nil, fmt.Errorf("encode the log of call %s: %w", t.ID, err)
	}
	log := len(text)
	if text, err = appendEnding(text, &f.Ending); err != nil {
		return nil, fmt.Errorf("encode the ending of call %s: %w", t.ID, err)
	}
	*buffer = text
	both := string(text)
	e := &closing{
		id: t.ID, batch: t.Batch, generation: t.Generation, state: string(f.State),
		log: both[:log], out: both[log:], hasBody: f.Body != nil, body: f.Body, bodyType: f.BodyType,
		weight: len(both) + len(f.Body), place: newPlace(),
	}
	if f.State == Dead {
		e.group, e.description = f.Group.Name(), f.Group.encode()
		e.more = append(e.more, "group", e.group)
	}
	if t.FreshKeys > 0 { // a redrive goes on from it
		e.more = append(e.more, "fresh_keys", t.FreshKeys)
	}
	if earlier := t.earlierWith(a != nil).encode(); earlier != "" {
		e.more = append(e.more, "earlier", earlier)
	}
	if f.Assumed { // lua/end.lua wants it to be the last one
		e.more = append(e.more, "assumed", 1)
	}
	return e, nil
}

// appendArgs appends the script's arguments for this ending. Texts are passed as pointers:
// in an interface a pointer needs no memory of its own.
func (e *closing) appendArgs(args []any) []any {
	n := 4 + len(e.more)
	if e.hasBody {
		n += 4
	}
	if e.state == string(Dead) {
		n += 2
	}
	args = append(args, &e.id, &e.batch, e.generation, &e.state, n)
	if e.state == string(Dead) {
		args = append(args, &e.group, &e.description)
	}
	if e.hasBody {
		args = append(args, "body", e.body, "type", &e.bodyType)
	}
	return append(append(args, "log", &e.log, "out", &e.out), e.more...)
}

// endScript is the script that records endings of one queue, in the form in which one writer
// runs it again and again. The zero value is ready for use; it is not safe for concurrent
// use.
type endScript struct {
	// run is the script with its keys; asynq counts the tasks of each day under another one.
	run *redislua.Prepared
	day string
	// tasks and own are the prefixes of other keys.
	tasks, own string
	command    []any
}

// prepare returns the script with the keys of a day.
func (s *endScript) prepare(d *Dispatcher, queue string, now time.Time) *redislua.Prepared {
	if day := now.UTC().Format(time.DateOnly); s.run == nil || day != s.day {
		k := keysOf(queue)
		s.day, s.tasks, s.own = day, k.taskPrefix(), k.own
		s.run = redislua.Prepare(scriptEnd, k.active(), k.lease(), k.processed()+":"+day, k.processed(), k.archived(),
			d.circuit(queue), k.dead(), k.groups())
	}
	return s.run
}

// finish runs the script that records endings of one queue, and sets the result in each
// closing.
func (d *Dispatcher) finish(ctx context.Context, script *endScript, queue string, closings []*closing) {
	now := time.Now()
	run := script.prepare(d, queue, now)
	command := append(run.Command(script.command), &script.tasks, &script.own, now.Add(statsAge).Unix(), now.Add(-archiveAge).Unix(), archiveKeep)
	for _, e := range closings {
		command = e.appendArgs(command)
	}
	script.command = command
	n, err := run.Run(ctx, d.rdb, command).Int64Slice()
	clear(command) // it would keep the bodies
	if refused := redis.Error(nil); len(closings) > 1 && errors.As(err, &refused) {
		// Redis may refuse the script because of one ending: that must not keep the
		// other calls from ending.
		for _, e := range closings {
			d.finish(ctx, script, queue, []*closing{e})
		}
		return
	}
	for i, e := range closings {
		if e.err = err; err == nil {
			e.streak, e.applied = int(n[0]), n[i+1] == 1
		}
	}
}
