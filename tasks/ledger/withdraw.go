package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Withdrawal is how an open call that no worker is making is to end.
type Withdrawal struct {
	Record
	// Final is the ending: cancelled or dead, without a body.
	Final Final
	// Tail is appended to asynq's encoding of a dead letter's task, so that the task
	// names its last error in asynq's archive; see broker.LastErrorTail.
	Tail string
	// AnyGeneration ends the call in whichever generation it is open.
	AnyGeneration bool
}

// Withdrawn says what became of a [Withdrawal].
type Withdrawn int

// The possible outcomes of a withdrawal.
const (
	// Withdrew: the ending was recorded.
	Withdrew Withdrawn = 1
	// MovedOn: the call had ended before, or another generation of it is open.
	MovedOn Withdrawn = 0
	// Taken: a worker has the call and ends it.
	Taken Withdrawn = -1
	// OtherMark: the call was marked as sent, or its mark was cleared, after the record
	// was read. Read it again.
	OtherMark Withdrawn = -2
)

// MaxWithdrawn is how many calls [Ledger.Withdraw] ends at most: Redis serves no other
// client meanwhile.
const MaxWithdrawn = 100

// Withdraw ends calls of one queue that no worker is making, at most [MaxWithdrawn]
// and none twice, in one script. Running it twice changes nothing.
func (l *Ledger) Withdraw(ctx context.Context, queue string, list []Withdrawal) ([]Withdrawn, error) {
	k := keysOf(queue)
	args := make([]any, 0, 4+16*len(list))
	args = append(args, k.taskPrefix(), k.own, time.Now().Add(-archiveAge).Unix(), archiveKeep)
	var before []any
	for i := range list {
		w := &list[i]
		var generation, mark any = w.Generation, w.Sent
		if w.AnyGeneration {
			generation = ""
		}
		if w.Sent == 0 {
			mark = ""
		}
		args = append(args, w.ID, w.Batch, generation, mark)
		ending, err := w.ending()
		switch {
		case err != nil:
			return nil, err
		case slices.Equal(ending, before):
			args = append(args, "")
		default:
			args = append(args, ending...)
		}
		before = ending
	}
	reply, err := scriptWithdraw.Run(ctx, l.rdb, []string{
		k.lease(), k.scheduled(), k.retry(), k.pending(), k.archived(), k.dead(), k.groups(), k.deadlines(),
	}, args...).Int64Slice()
	if err != nil {
		return nil, fmt.Errorf("end %d calls of queue %q: %w", len(list), queue, err)
	}
	withdrawn := make([]Withdrawn, len(reply))
	for i, n := range reply {
		withdrawn[i] = Withdrawn(n)
	}
	return withdrawn, nil
}

// ending returns how the call ends, as lua/withdraw.lua gets it. Its elements are comparable.
func (w *Withdrawal) ending() ([]any, error) {
	out, err := encodeEnding(w.Final.Ending)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", w.ID, err)
	}
	fields := []any{"out", string(out)}
	group, description := "", ""
	if w.Final.State == Dead {
		group, description = w.Final.Group.Name(), w.Final.Group.encode()
		fields = append(fields, "group", group)
	}
	earlier := w.Earlier
	if w.Final.State == Dead {
		earlier.Maybe += w.Starts // whoever took it has recorded nothing
	}
	if w.Final.Assumed {
		fields = append(fields, "assumed", 1)
		earlier.Maybe = max(earlier.Maybe, w.Earlier.Maybe+1)
	}
	if text := earlier.encode(); text != "" {
		fields = append(fields, "earlier", text)
	}
	return append([]any{string(w.Final.State), group, description, w.Tail, len(fields)}, fields...), nil
}

// Cancel ends an open call that no worker is making. It reports whether it was
// cancelled, and whether a worker is making the call right now. It leaves a call with
// the mark of a send alone, with [ErrMaybeSent]: it is not known what became of that
// one.
func (l *Ledger) Cancel(ctx context.Context, r Record, e Ending) (cancelled, active bool, err error) {
	withdrawn, err := l.CancelAll(ctx, r.Queue, []Record{r}, e)
	if err != nil {
		return false, false, fmt.Errorf("cancel call %s: %w", r.ID, err)
	}
	if withdrawn[0] == OtherMark {
		return false, false, fmt.Errorf("cancel call %s: %w", r.ID, ErrMaybeSent)
	}
	return withdrawn[0] == Withdrew, withdrawn[0] == Taken, nil
}

// CancelAll is [Ledger.Cancel] for several calls of one queue, at most [MaxWithdrawn] and
// none twice, in one script. A call with the mark of a send is left alone: [OtherMark].
func (l *Ledger) CancelAll(ctx context.Context, queue string, list []Record, e Ending) ([]Withdrawn, error) {
	withdrawals := make([]Withdrawal, len(list))
	for i, r := range list {
		r.Sent = 0
		withdrawals[i] = Withdrawal{Record: r, Final: Final{State: Cancelled, Ending: e}, AnyGeneration: true}
	}
	return l.Withdraw(ctx, queue, withdrawals)
}
