package tasks

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// DeadGroup is what dead letters have in common: the reason and the endpoint.
type DeadGroup struct {
	// Name is short, and made from class, code and endpoint.
	Name  string
	Class string
	// Code is the API's error code; empty if there is none.
	Code     string
	Endpoint string
	// Message and Advice are those of the latest member.
	Message, Advice string
	// Queues are those in which the group has members.
	Queues []string
	// Count is the number of members.
	Count int64
}

// DeadGroupName is the name of the group of dead letters with that class, code and
// endpoint.
func DeadGroupName(class, code, endpoint string) string {
	return ledger.Group{Class: class, Code: code, Endpoint: endpoint}.Name()
}

// DeadGroups returns the groups of all dead letters, the largest first.
func (c *Client) DeadGroups(ctx context.Context) ([]DeadGroup, error) {
	found, err := c.ledger.DeadGroups(ctx)
	if err != nil {
		return nil, err
	}
	groups := make([]DeadGroup, len(found))
	for i, g := range found {
		groups[i] = DeadGroup{
			Name: g.Name, Class: g.Class, Code: g.Code, Endpoint: g.Endpoint, Message: g.Message, Advice: g.Advice,
			Queues: g.Queues, Count: g.Count,
		}
	}
	return groups, nil
}

// DeadFilter selects dead letters: those that match all of its fields. The zero value
// selects all.
type DeadFilter struct {
	// IDs are calls, whatever their state; the other fields are ignored then. A call
	// that is named twice is selected once.
	IDs []string
	// Group is the name of a group.
	Group string
	// Match decides about each dead letter; nil selects all.
	Match func(CallInfo) bool
	// Until selects dead letters up to a watermark; nil is the moment when the
	// selection begins. So a call that is redriven and dies again is not selected
	// twice.
	Until *DeadWatermark
}

// DeadWatermark is a moment in the order in which calls die, of all queues.
type DeadWatermark struct{ at ledger.Watermark }

// DeadWatermark returns the present moment, for several selections that are to be the
// same.
func (c *Client) DeadWatermark(ctx context.Context) (*DeadWatermark, error) {
	at, err := c.ledger.DeadWatermark(ctx)
	if err != nil {
		return nil, err
	}
	return &DeadWatermark{at}, nil
}

// DeadLetters yields the dead letters that a filter selects, queue by queue, the oldest
// first, even while some of them are redriven. An id without a call yields [ErrNoCall],
// with the id in the result, and the others follow. After any other error it ends.
func (c *Client) DeadLetters(ctx context.Context, f DeadFilter) iter.Seq2[CallInfo, error] {
	return func(yield func(CallInfo, error) bool) {
		for r, err := range c.selected(ctx, f) {
			if !yield(callInfoOf(r), err) {
				return
			}
		}
	}
}

// maxLooked is how many dead letters DeadPage looks at. A filter that few match must not
// make one page read all of them.
const maxLooked = 5000

// DeadPage returns at most n of the dead letters that a filter selects, in the order of
// [Client.DeadLetters]: those after a position, or the first ones for "". next is the
// position after them; "" at the end. It looks at some thousand dead letters at most, so a
// page can have fewer than n, or none, although others follow. It returns [ErrPosition] if
// after is not a position. Until and IDs of the filter are not used.
func DeadPage(ctx context.Context, c *Client, f DeadFilter, after string, n int) (letters []CallInfo, next string, err error) {
	cur, err := ledger.ParseDeadCursor(after)
	if err != nil {
		return nil, "", ErrPosition
	}
	looked := 0
	for r, err := range c.ledger.DeadAfter(ctx, f.Group, cur) {
		if err != nil {
			return nil, "", err
		}
		if len(letters) == n || looked == maxLooked {
			return letters, next, nil
		}
		looked++
		next = cur.String()
		if info := callInfoOf(r); f.Match == nil || f.Match(info) {
			letters = append(letters, info)
		}
	}
	return letters, "", nil
}

func (c *Client) selected(ctx context.Context, f DeadFilter) iter.Seq2[ledger.Record, error] {
	return func(yield func(ledger.Record, error) bool) {
		seen := map[string]bool{}
		for _, id := range f.IDs {
			if seen[id] {
				continue
			}
			seen[id] = true
			r, err := c.ledger.Find(ctx, id)
			r.ID = id
			if !yield(r, err) || err != nil && !errors.Is(err, ErrNoCall) {
				return
			}
		}
		if len(f.IDs) > 0 {
			return
		}
		if f.Until == nil {
			var err error
			if f.Until, err = c.DeadWatermark(ctx); err != nil {
				yield(ledger.Record{}, err)
				return
			}
		}
		for r, err := range c.ledger.Dead(ctx, f.Group) {
			if err == nil && (!f.Until.at.Has(r) || f.Match != nil && !f.Match(callInfoOf(r))) {
				continue
			}
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Pace is the speed of a change of many calls. The zero value is as fast as Redis.
type Pace struct {
	// Every is the time from one call to the next. Calls that are less than five
	// milliseconds apart are changed in groups, up to a hundred at once, none of them
	// before its time. A delay of more than that is not made up for by a burst.
	Every time.Duration
	// OnCall, unless nil, is called for each call with its result: nil, or the error
	// that [Client.Redrive] or [Client.Purge] would return for it. It is not called
	// concurrently, but may be called from other goroutines, and in another order.
	OnCall func(id string, err error)
}

// Changed counts the selected calls by their result.
type Changed struct {
	// Selected is how many there were. Of these, Applied were changed, Moved had
	// changed meanwhile, and Failed could not be changed.
	Selected, Applied, Moved, Failed int
}

// RedriveAll redrives the dead letters that a filter selects, each as [Client.Redrive]
// does. A call that is refused does not stop the others: it is counted, and passed to
// [Pace.OnCall]. After an interruption it can be started again: a call that was redriven
// is not a dead letter any more.
func (c *Client) RedriveAll(ctx context.Context, f DeadFilter, p Pace) (Changed, error) {
	return changeAll(ctx, c.selected(ctx, f), p, c.redrive)
}

// PurgeAll purges the dead letters that a filter selects, in the same way as RedriveAll
// redrives them.
func (c *Client) PurgeAll(ctx context.Context, f DeadFilter, p Pace) (Changed, error) {
	return changeAll(ctx, c.selected(ctx, f), p, c.purge)
}

// refuses reports whether an error concerns one call only.
func refuses(err error) bool {
	for _, one := range []error{ErrNoCall, ErrOpen, ErrDone, ErrPurged, ErrNotDead, ErrBusy, ErrMalformed, ErrNewerVersion} {
		if errors.Is(err, one) {
			return true
		}
	}
	return false
}
