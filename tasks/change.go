package tasks

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/internal/pause"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// busyTries is how often a change is tried while a worker still holds the call's
	// task, and busyPause the wait between two tries. A worker needs milliseconds from
	// the ledger's ending to asynq's.
	busyTries = 5
	busyPause = 200 * time.Millisecond
	// changers is how many scripts that change calls are under way at once, unless the
	// pace is so slow that a script changes one call: then the calls are changed in
	// order.
	changers = 4
	// paceStep is the time in which a script gathers its calls. Delays up to it are made
	// up for: no timer is more exact.
	paceStep = 5 * time.Millisecond
)

// changeCalls changes calls of one queue, at most [ledger.MaxChanged], and returns for
// each its error.
type changeCalls func(ctx context.Context, list []ledger.Record) []error

// whenFree changes the calls that have no error yet, and sets their errors. It tries
// again while workers still hold tasks of them. change gets the places of calls in errs.
func whenFree(ctx context.Context, errs []error, change func(ctx context.Context, which []int) ([]ledger.Change, error)) {
	var left []int
	for i, err := range errs {
		if err == nil {
			left = append(left, i)
		}
	}
	fail := func(err error) {
		for _, i := range left {
			errs[i] = err
		}
	}
	for n := 0; n < busyTries && len(left) > 0; n++ {
		if n > 0 {
			if err := pause.For(ctx, busyPause); err != nil {
				fail(err)
				return
			}
		}
		if ctx.Err() != nil {
			fail(ctx.Err())
			return
		}
		// A change that has begun is completed, so that its result is known.
		changes, err := change(context.WithoutCancel(ctx), left)
		if err != nil {
			fail(err)
			return
		}
		var held []int
		for k, i := range left {
			switch changes[k] {
			case ledger.Changed:
			case ledger.StillHeld:
				held = append(held, i)
			default:
				errs[i] = ErrChanged
			}
		}
		left = held
	}
	fail(ErrBusy)
}

// choose returns the elements of a list at some places.
func choose[T any](list []T, which []int) []T {
	chosen := make([]T, len(which))
	for k, i := range which {
		chosen[k] = list[i]
	}
	return chosen
}

// selectedCall is a call to be changed, or an id without a call, with its error.
type selectedCall struct {
	ledger.Record
	err error
}

// changing is a change of many calls that is under way.
type changing struct {
	pace   pacer
	onCall func(id string, err error)
	change changeCalls
	stop   context.CancelFunc
	slots  chan struct{}
	wg     sync.WaitGroup

	mu  sync.Mutex
	n   Changed
	err error // the first that stops the change
}

// changeAll changes calls, some of a queue at a time.
func changeAll(ctx context.Context, records iter.Seq2[ledger.Record, error], p Pace, change changeCalls) (Changed, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	c := &changing{pace: newPacer(p.Every), onCall: p.OnCall, change: change, stop: stop}
	c.slots = make(chan struct{}, c.pace.changers())
	found := make(chan selectedCall)
	c.wg.Go(func() {
		defer close(found)
		for r, err := range records {
			select {
			case found <- selectedCall{r, err}:
			case <-ctx.Done():
				return
			}
		}
	})
	err := c.gather(ctx, found)
	if err != nil {
		stop()
	}
	c.wg.Wait()
	if c.err != nil {
		err = c.err
	}
	return c.n, err
}

// gather makes lists of the selected calls, and has them changed. A list is complete when
// one script can take no more calls, or when the oldest of its calls has waited for
// paceStep.
func (c *changing) gather(ctx context.Context, found <-chan selectedCall) error {
	var list changeList
	timer := time.NewTimer(paceStep)
	defer timer.Stop()
	flush := func() error {
		err := c.begin(ctx, list)
		list = changeList{}
		return err
	}
	for {
		select {
		case one, more := <-found:
			stops := one.err != nil && !errors.Is(one.err, ErrNoCall)
			if !more || stops || !list.takes(one) {
				if err := flush(); err != nil {
					return err
				}
			}
			if !more || stops {
				return one.err
			}
			if list.add(one); len(list.calls) == 1 {
				timer.Reset(paceStep)
			}
			if list.paced >= c.pace.together() {
				if err := flush(); err != nil {
					return err
				}
			}
		case <-timer.C:
			if err := flush(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changeList is a list of calls for one script. The zero value is empty.
type changeList struct {
	calls []selectedCall
	// queue is that of the calls, and paced their number, without ids that have no call.
	queue string
	paced int
	bytes int
}

// takes reports whether the list may get one more call.
func (l *changeList) takes(one selectedCall) bool {
	if one.err != nil || l.paced == 0 {
		return len(l.calls) < ledger.MaxChanged
	}
	return one.Queue == l.queue && len(l.calls) < ledger.MaxChanged && l.bytes+one.Size() <= ledger.MaxChangedBytes
}

func (l *changeList) add(one selectedCall) {
	l.calls = append(l.calls, one)
	if one.err == nil {
		l.queue = one.Queue
		l.paced++
		l.bytes += one.Size()
	}
}

// begin waits until a script may run that changes the calls, and starts it.
func (c *changing) begin(ctx context.Context, list changeList) error {
	if len(list.calls) == 0 {
		return nil
	}
	select {
	case c.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := c.pace.wait(ctx, list.paced); err != nil {
		return err
	}
	c.wg.Go(func() {
		c.apply(ctx, list)
		<-c.slots
	})
	return nil
}

func (c *changing) apply(ctx context.Context, list changeList) {
	records := make([]ledger.Record, 0, list.paced)
	for _, one := range list.calls {
		if one.err == nil {
			records = append(records, one.Record)
		}
	}
	var errs []error
	if len(records) > 0 {
		errs = c.change(ctx, records)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, one := range list.calls {
		err := one.err
		if err == nil {
			err, errs = errs[0], errs[1:]
		}
		c.count(one.ID, err)
	}
}

// count counts the result of one call. Another error than a refusal stops the others. It
// must be called with mu held.
func (c *changing) count(id string, err error) {
	switch {
	case err == nil:
		c.n.Applied++
	case errors.Is(err, ErrChanged):
		c.n.Moved++
	case refuses(err):
		c.n.Failed++
	default:
		if c.err == nil {
			c.err = err
		}
		c.stop()
		return
	}
	c.n.Selected++
	if c.onCall != nil {
		c.onCall(id, err)
	}
}

// pacer spreads changes over time.
type pacer struct {
	every time.Duration
	// next is the time of the next call.
	next time.Time
}

func newPacer(every time.Duration) pacer { return pacer{every: every, next: time.Now()} }

// together is how many calls a script changes at most.
func (p *pacer) together() int {
	if p.every <= 0 {
		return ledger.MaxChanged
	}
	return int(min(max(paceStep/p.every, 1), ledger.MaxChanged))
}

// changers is how many scripts may be under way at once.
func (p *pacer) changers() int {
	if p.every >= paceStep {
		return 1
	}
	return changers
}

// wait waits until the pace allows n more calls.
func (p *pacer) wait(ctx context.Context, n int) error {
	if p.every <= 0 || n == 0 {
		return nil
	}
	last := p.next.Add(time.Duration(n-1) * p.every)
	allowed := time.Duration(0)
	if p.every < paceStep {
		allowed = paceStep
	}
	late := time.Since(last)
	switch {
	case late < 0:
		if err := pause.For(ctx, -late); err != nil {
			return err
		}
	case late > allowed:
		last = last.Add(late - allowed)
	}
	p.next = last.Add(p.every)
	return nil
}
