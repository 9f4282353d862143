package tasks

import (
	"context"
	"errors"
	"sync"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// cancelers is how many scripts that cancel calls are under way at once.
const cancelers = 4

// CancelBatch cancels the open calls of a batch, each as [Client.Cancel] does; calls
// that have ended meanwhile are not an error. progress, unless nil, is called now and then
// with what was done so far, from one goroutine at a time. After an error the counts have
// the calls before it.
func (c *Client) CancelBatch(ctx context.Context, batch string, why Cancellation, progress func(Cancelled)) (Cancelled, error) {
	if _, err := c.ledger.Batch(ctx, batch); err != nil {
		return Cancelled{}, err
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	tally := cancelTally{progress: progress}
	calls := make(chan []ledger.Record)
	var wg sync.WaitGroup
	for range cancelers {
		wg.Go(func() {
			for list := range calls {
				if err := c.cancelAll(ctx, list, why, &tally); err != nil {
					stop(err)
				}
			}
		})
	}
	err := c.eachCall(ctx, batch, calls)
	close(calls)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return tally.n, err
}

// eachCall sends the calls of a batch to calls, in lists of one queue each, without reading
// them: the script that cancels calls finds out which are open.
func (c *Client) eachCall(ctx context.Context, batch string, calls chan<- []ledger.Record) error {
	lists := map[string][]ledger.Record{}
	send := func(queue string) error {
		list := lists[queue]
		delete(lists, queue)
		select {
		case calls <- list:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for r, err := range c.ledger.Names(ctx, batch, TaskID) {
		if err != nil {
			return err
		}
		lists[r.Queue] = append(lists[r.Queue], r)
		if len(lists[r.Queue]) == ledger.MaxWithdrawn {
			if err := send(r.Queue); err != nil {
				return err
			}
		}
	}
	for queue := range lists {
		if err := send(queue); err != nil {
			return err
		}
	}
	return nil
}

// cancelAll cancels the open ones of some calls of one queue in one script, and those that may
// have been sent one by one.
func (c *Client) cancelAll(ctx context.Context, list []ledger.Record, why Cancellation, tally *cancelTally) error {
	withdrawn, err := c.ledger.CancelAll(ctx, list[0].Queue, list, cancelledEnding(ledger.Record{}, why))
	if err != nil {
		return err
	}
	var n Cancelled
	for i, w := range withdrawn {
		state := State("")
		err = nil
		switch w {
		case ledger.Withdrew:
			state = StateCancelled
		case ledger.Taken:
			err = ErrBusy
		case ledger.OtherMark:
			state, err = c.cancel(ctx, list[i], why)
		}
		if err := n.count(state, err); err != nil {
			tally.add(n)
			return err
		}
	}
	tally.add(n)
	return nil
}

// count counts the result of one call, and returns an error if that has to stop the others.
func (n *Cancelled) count(state State, err error) error {
	switch {
	case state == StateCancelled:
		n.Cancelled++
	case state == StateDead, errors.Is(err, ErrMaybeSent):
		n.Unknown++
	case errors.Is(err, ErrBusy):
		n.Active++
	case err != nil && !errors.Is(err, ErrEnded):
		return err
	}
	return nil
}

type cancelTally struct {
	progress func(Cancelled)

	mu sync.Mutex
	n  Cancelled
}

func (t *cancelTally) add(n Cancelled) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n.Cancelled += n.Cancelled
	t.n.Unknown += n.Unknown
	t.n.Active += n.Active
	if t.progress != nil {
		t.progress(t.n)
	}
}
