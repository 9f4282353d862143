package ledger

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"time"
)

// fields returns the record fields of an attempt.
func (t *Delivery) fields(a *Attempt) (fields []any, err error) {
	log, err := appendLogJSON(nil, t.Log, a)
	if err != nil {
		return nil, fmt.Errorf("encode the log of call %s: %w", t.ID, err)
	}
	fields = []any{"attempts", t.Attempts, "parked", t.Parked, "log", log}
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
	if t.FreshKeys > 0 {
		fields = append(fields, "fresh_keys", t.FreshKeys)
	}
	if t.Verifying {
		fields = append(fields, "asked", t.VerifyAsked, "absent", t.VerifyAbsent)
		if t.Sent > 0 { // the script takes the mark of the send away
			fields = append(fields, "sent", t.Sent)
		}
	}
	if earlier := t.earlierWith(a != nil).encode(); earlier != "" {
		fields = append(fields, "earlier", earlier)
	}
	return fields, nil
}

// logWith returns the log with one more line, unless a is nil. It does not change t.Log, so
// that a write that failed can be repeated with the same line.
func (t *Delivery) logWith(a *Attempt) []Attempt {
	if a == nil {
		return t.Log
	}
	return append(slices.Clip(latest(t.Log, LogLimit-1)), *a)
}

// Attempt records that the call goes on: the counts of t and, unless a is nil, one more
// line of its log. It returns the account's streak of failures, and false when the
// record has ended or moved on.
func (d *Dispatcher) Attempt(ctx context.Context, t *Delivery, a *Attempt) (streak int, applied bool, err error) {
	return d.attempt(ctx, t, a, false)
}

// Park records that the call goes on without having spent an attempt, and puts its task
// back at the head of its queue, all in one step; asynq must not touch the task any
// more. It is for calls whose account is held. t.Parked must include this park.
// Otherwise it is like [Dispatcher.Attempt].
func (d *Dispatcher) Park(ctx context.Context, t *Delivery, a *Attempt) (streak int, applied bool, err error) {
	return d.attempt(ctx, t, a, true)
}

func (d *Dispatcher) attempt(ctx context.Context, t *Delivery, a *Attempt, park bool) (streak int, applied bool, err error) {
	fields, err := t.fields(a)
	if err != nil {
		return 0, false, err
	}
	d.marks.unsend(t.Queue, t.number)
	k := keysOf(t.Queue)
	names, args := []string{k.record(t.ID), d.circuit(t.Queue)}, []any{t.Generation, t.Token, t.Mark, "", "", ""}
	if park {
		names = append(names, k.active(), k.lease(), k.pending(), k.task(t.ID))
		args = append(args[:3], t.Parked, t.ID, time.Now().UnixNano())
	}
	n, err := scriptAttempt.Run(ctx, d.rdb, names, append(args, fields...)...).Int64Slice()
	if err != nil {
		return 0, false, fmt.Errorf("record an attempt of call %s: %w", t.ID, err)
	}
	t.Earlier, t.MaybeSent, t.Log = t.earlierWith(a != nil), 0, t.logWith(a)
	return int(n[1]), n[0] == 1, nil
}

// MarkSent is the last step before attempt n of a call is sent. It asks once more
// whether the account, in the epoch that admitted the call, may still be called, and
// notes the attempt of a call that must not be sent twice (nonIdempotent). If Redis
// keeps an append-only file, it returns once that note survives a kill of Redis's
// process, however slow the disk is. probe is the token of the account's probe, if the
// call is the probe. It returns how long the account is held (0: send the call), and
// false when the record has ended or moved on, or Redis has lost the note. After an
// error the call must not be sent.
func (d *Dispatcher) MarkSent(ctx context.Context, t *Delivery, n int, nonIdempotent bool, probe string) (held time.Duration, applied bool, err error) {
	attempt := ""
	if nonIdempotent {
		attempt = strconv.Itoa(n)
		if t.Mark == "" {
			t.Mark = rand.Text()
		}
	}
	m, err := d.mark(ctx, t, attempt, probe)
	if err != nil {
		return 0, false, fmt.Errorf("mark call %s as sent: %w", t.ID, err)
	}
	switch m.code {
	case 1:
		if !nonIdempotent {
			return 0, true, nil
		}
		t.number = m.value
		mark := madeMark{number: t.number, id: t.ID, token: t.Mark, generation: t.Generation, attempt: n}
		if !d.marks.remember(t.Queue, m.known.life, mark) {
			return 0, false, nil
		}
		kept, err := d.awaitWritten(ctx, keysOf(t.Queue).record(t.ID), t.Generation, t.Mark)
		if err != nil {
			return 0, false, fmt.Errorf("mark call %s as sent: %w", t.ID, err)
		}
		return 0, kept && d.marks.send(t.Queue, m.known.life, t.number), nil
	case 0:
		return max(time.Duration(m.value)*time.Millisecond, time.Millisecond), true, nil
	default:
		return 0, false, nil
	}
}

// MarkAlone notes that the worker makes no other call at the same time; it returns
// false when the record has ended or moved on.
func (d *Dispatcher) MarkAlone(ctx context.Context, t *Delivery) (applied bool, err error) {
	applied, err = scriptAlone.Run(ctx, d.rdb, []string{keysOf(t.Queue).record(t.ID)}, t.Generation, t.Token).Bool()
	if err != nil {
		return false, fmt.Errorf("note that call %s is made alone: %w", t.ID, err)
	}
	return applied, nil
}

// PassTurn lets the next call of a queue be delivered after a hold, instead of a call
// that was delivered and will not ask for the probe.
func (d *Dispatcher) PassTurn(ctx context.Context, queue string) error {
	if err := d.rdb.HDel(ctx, d.circuit(queue), "turn").Err(); err != nil {
		return fmt.Errorf("let the next call of queue %q be delivered: %w", queue, err)
	}
	return nil
}
