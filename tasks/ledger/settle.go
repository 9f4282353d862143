package ledger

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

const (
	// asynq keeps at most 10,000 archived tasks for at most 90 days and deletes
	// the oldest in a way that can jam. The archive is only a view of ours, so
	// we keep it well below both.
	archiveKeep = 5000
	asynqKeeps  = 10_000
	archiveAge  = 80 * 24 * time.Hour
	// asynq keeps its daily figures for 90 days.
	statsAge = 90 * 24 * time.Hour
)

// fields are the record fields that an attempt leaves behind.
func (t *Take) fields(a *Attempt) ([]any, error) {
	log, err := t.encodeLog(a)
	if err != nil {
		return nil, err
	}
	fields := []any{"attempts", t.Attempts, "parked", t.Parked, "log", log}
	if !t.FirstAt.IsZero() {
		fields = append(fields, "first", t.FirstAt.UnixMilli(), "held_base", t.HeldBase.Milliseconds())
	}
	if t.HeldOwn > 0 || !t.ParkedAt.IsZero() {
		var parked int64
		if !t.ParkedAt.IsZero() {
			parked = t.ParkedAt.UnixMilli()
		}
		fields = append(fields, "held_own", t.HeldOwn.Milliseconds(), "parked_at", parked)
	}
	return fields, nil
}

// encodeLog adds a line to the log, unless it is nil, and encodes the whole.
func (t *Take) encodeLog(a *Attempt) ([]byte, error) {
	if a != nil {
		t.Log = appendLog(t.Log, *a)
	}
	log, err := json.Marshal(t.Log)
	if err != nil {
		return nil, fmt.Errorf("encode the log of call %s: %w", t.ID, err)
	}
	return log, nil
}

// Attempt records that the call goes on: the counts of t and, unless a is nil,
// one more line of its log. It returns the account's streak of failures, and
// false when the record has ended or moved on meanwhile.
func (l *Ledger) Attempt(ctx context.Context, t *Take, a *Attempt) (streak int, mine bool, err error) {
	fields, err := t.fields(a)
	if err != nil {
		return 0, false, err
	}
	k := keysOf(t.Queue)
	n, err := scriptAttempt.Run(ctx, l.rdb,
		[]string{k.record(t.ID), l.circuit(t.Queue)},
		append([]any{t.Generation, t.Token}, fields...)...).Int64Slice()
	if err != nil {
		return 0, false, fmt.Errorf("record an attempt of call %s: %w", t.ID, err)
	}
	return int(n[1]), n[0] == 1, nil
}

// Park records that the call goes on without having spent an attempt, and puts
// its task back at the head of its queue, all in one step; asynq is not to touch
// the task any more. It is for calls whose account is held. t.Parked counts this
// park too. For the rest it is like [Ledger.Attempt].
func (l *Ledger) Park(ctx context.Context, t *Take, a *Attempt) (streak int, mine bool, err error) {
	fields, err := t.fields(a)
	if err != nil {
		return 0, false, err
	}
	k := keysOf(t.Queue)
	n, err := scriptPark.Run(ctx, l.rdb,
		[]string{k.active(), k.lease(), k.pending(), k.task(t.ID), k.record(t.ID), l.circuit(t.Queue)},
		append([]any{t.ID, t.Generation, time.Now().UnixNano(), t.Parked, t.Token}, fields...)...).Int64Slice()
	if err != nil {
		return 0, false, fmt.Errorf("park call %s: %w", t.ID, err)
	}
	return int(n[1]), n[0] == 1, nil
}

// Final is how a call is to end.
type Final struct {
	State  State
	Ending Ending
	// Body is the result, with its content type; nil keeps none.
	Body     []byte
	BodyType string
	// Assumed tells that no answer was seen and the ending is a conclusion
	// (outcome_unknown after a crash). A real answer replaces it.
	Assumed bool
	// Group describes the dead letter's group; only for Dead.
	Group Group
}

// End records how the call ended, its log's last line (unless a is nil) and, for
// done and dropped, takes the task off asynq's lists in the same step. It
// returns the account's streak of failures, and false when the call had ended
// before or moved on: the first ending stands.
func (l *Ledger) End(ctx context.Context, t *Take, f Final, a *Attempt) (streak int, mine bool, err error) {
	log, err := t.encodeLog(a)
	if err != nil {
		return 0, false, err
	}
	out, err := json.Marshal(f.Ending)
	if err != nil {
		return 0, false, fmt.Errorf("encode the ending of call %s: %w", t.ID, err)
	}
	fields := []any{"log", log, "out", out}
	if f.Body != nil {
		fields = append(fields, "body", f.Body, "type", f.BodyType)
	}
	remove, real, group, description := 1, 1, "", ""
	if f.State == Dead {
		remove, group, description = 0, f.Group.Name(), f.Group.encode()
		fields = append(fields, "group", group)
	}
	if f.Assumed {
		real = 0
		fields = append(fields, "assumed", 1)
	}
	now := time.Now()
	k := keysOf(t.Queue)
	n, err := scriptEnd.Run(ctx, l.rdb,
		[]string{
			k.active(), k.lease(), k.task(t.ID), k.processed() + ":" + now.UTC().Format(time.DateOnly), k.processed(), k.archived(),
			k.record(t.ID), k.counts(t.Batch), k.ended(t.Batch), l.circuit(t.Queue), k.dead(), k.deadGroup(group), k.groups(),
		},
		append([]any{
			t.ID, t.Generation, string(f.State), remove, real, group, description,
			now.Add(statsAge).Unix(), now.Add(-archiveAge).Unix(), archiveKeep, k.taskPrefix(),
		}, fields...)...).Int64Slice()
	if err != nil {
		return 0, false, fmt.Errorf("record the ending of call %s: %w", t.ID, err)
	}
	return int(n[1]), n[0] == 1, nil
}

// MarkSent is the last step before attempt n of a call leaves: it asks once more
// whether the account, in the epoch that admitted the call, may still be called,
// and notes the attempt of a call which must not be sent twice (once is false for
// those that may). probe is the token of the account's probe, if the call is it. It returns
// how long the account is held (0: it is not, go ahead) and false when the record
// has ended or moved on. After an error the call must not be sent.
func (l *Ledger) MarkSent(ctx context.Context, t *Take, n int, once bool, probe string) (held time.Duration, mine bool, err error) {
	k := keysOf(t.Queue)
	attempt, decides := "", 0
	if once {
		attempt = strconv.Itoa(n)
	}
	if l.circuit(t.Queue) == l.circuit(upstreamOf(t.Queue)) {
		decides = 1
	}
	r, err := scriptMark.Run(ctx, l.rdb, []string{k.record(t.ID), l.circuit(t.Queue)},
		t.Generation, attempt, probe, t.Circuit.Epoch, t.Token, decides).Int64Slice()
	if err != nil {
		return 0, false, fmt.Errorf("mark call %s as sent: %w", t.ID, err)
	}
	switch r[0] {
	case 1:
		return 0, true, nil
	case 0:
		return max(time.Duration(r[1])*time.Millisecond, time.Millisecond), true, nil
	default:
		return 0, false, nil
	}
}

// PassTurn lets the next call of a queue out after a hold, in place of one that
// was let out and will not ask for the probe.
func (l *Ledger) PassTurn(ctx context.Context, queue string) error {
	if err := l.rdb.HDel(ctx, l.circuit(queue), "turn").Err(); err != nil {
		return fmt.Errorf("let the next call of queue %q out: %w", queue, err)
	}
	return nil
}
