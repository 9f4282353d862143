package notify

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

const (
	// settle is how long a batch must have been without open calls, and how long ago the
	// first call of a new cause must have died: a producer may be sending the next calls,
	// and others may die too.
	settle = time.Second
	// batchQuiet and causeQuiet are how long the same ending of a batch and the same cause
	// are not told again: the first because it may be read twice, the second because calls
	// that are redriven may die again.
	batchQuiet, causeQuiet = 24 * time.Hour, time.Hour
	// circuitQuiet is how long the same change of a circuit is not told again.
	circuitQuiet = 24 * time.Hour
	// notesAtOnce is how many notes of a queue are read at once.
	notesAtOnce = 200
	// watchEvery is how often the queues' watches are renewed.
	watchEvery = time.Minute
)

// Collector finds out what has happened and appends it to the outboxes. It is not safe for
// concurrent use; several may work on the same Redis.
type Collector struct {
	Store    *Store
	Circuits *circuit.Store
	// Upstreams are the configured ones. Those that only the queue knows are watched too.
	Upstreams []string

	feed   *ledger.Feed
	ledger *ledger.Ledger
	// watched is when each queue was watched last.
	watched map[string]time.Time
}

// Found is what a Collector has found.
type Found struct {
	// Events is how many events there were.
	Events int
	// Lost is how many events each receiver has lost because too many waited.
	Lost map[string]int64
}

// NewCollector returns a Collector on the Redis of the store.
func NewCollector(rdb redis.UniversalClient, store *Store, circuits *circuit.Store, upstreams []string) *Collector {
	return &Collector{
		Store: store, Circuits: circuits, Upstreams: upstreams, feed: ledger.NewFeed(rdb), ledger: ledger.New(rdb), watched: map[string]time.Time{},
	}
}

// Watch makes the scripts note what happens in the queues of the configured upstreams, before
// the first call is made. It is repeated by Collect.
func (c *Collector) Watch(ctx context.Context) error {
	return c.watch(ctx, c.configured(), time.Now())
}

// Waits reports whether the ending of a batch, or a new cause of dead letters, in a queue of
// the configured upstreams was not collected yet. It is safe for concurrent use.
func (c *Collector) Waits(ctx context.Context) (bool, error) {
	notes, err := c.feed.Notes(ctx, time.Now().Add(time.Hour), 1, c.configured()...)
	return len(notes) > 0, err
}

// watch renews the watches of queues that are due.
func (c *Collector) watch(ctx context.Context, queues []string, now time.Time) error {
	due := slices.DeleteFunc(slices.Clone(queues), func(queue string) bool { return now.Sub(c.watched[queue]) < watchEvery })
	if err := c.feed.Watch(ctx, due...); err != nil {
		return err
	}
	for _, queue := range due {
		c.watched[queue] = now
	}
	return nil
}

// configured returns the queues of the configured upstreams.
func (c *Collector) configured() (queues []string) {
	for _, upstream := range c.Upstreams {
		queues = append(queues, tasks.Queues(upstream)...)
	}
	return queues
}

// Collect appends what has happened since the last time, in this process or another, to the
// outboxes. now is Redis's clock. After an error nothing is lost: it is found again.
func (c *Collector) Collect(ctx context.Context, now time.Time) (found Found, err error) {
	queues, err := c.queues(ctx)
	if err != nil {
		return found, err
	}
	if err := c.watch(ctx, queues, now); err != nil {
		return found, err
	}
	notes, err := c.feed.Notes(ctx, now.Add(-settle), notesAtOnce, queues...)
	if err != nil {
		return found, err
	}
	causes, err := c.causes(ctx, notes)
	if err != nil {
		return found, err
	}
	changes, err := c.changes(ctx, queues, now)
	if err != nil {
		return found, err
	}
	ended, left, err := c.ended(ctx, notes, now)
	if err != nil {
		return found, err
	}
	// What explains an ending comes before it.
	if news := slices.Concat(changes, causes, ended); len(news) > 0 {
		found.Events = len(news)
		if found.Lost, err = c.Store.Append(ctx, now, news); err != nil {
			return found, err
		}
	}
	told := slices.DeleteFunc(notes, func(n ledger.Note) bool { return !n.Cause && left[n.Name] })
	return found, c.feed.Forget(ctx, told...)
}

// queues returns all queues but those of notifications.
func (c *Collector) queues(ctx context.Context) ([]string, error) {
	queues, err := c.ledger.Queues(ctx)
	if err != nil {
		return nil, err
	}
	queues = slices.DeleteFunc(queues, ledger.IsNotification)
	queues = append(queues, c.configured()...)
	slices.Sort(queues)
	return slices.Compact(queues), nil
}

// causes returns the news of the notes about new groups of dead letters.
func (c *Collector) causes(ctx context.Context, notes []ledger.Note) (news []News, err error) {
	for _, n := range notes {
		if !n.Cause {
			continue
		}
		cause, ok, err := c.feed.Cause(ctx, n.Queue, n.Name)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue // they were redriven
		}
		upstream := tasks.UpstreamOf(n.Queue)
		m, err := MessageOf(DeadGroup{
			ID: idOf(TypeDeadGroup, upstream, n.Name, n.At.UnixMicro()), At: n.At, Upstream: upstream, Group: n.Name,
			Class: cause.Class, Code: cause.Code, Endpoint: cause.Endpoint, Message: cause.Message, Advice: cause.Advice,
			Count: cause.Count, Example: cause.Latest,
		})
		if err != nil {
			return nil, err
		}
		news = append(news, News{Message: m, Name: "group " + upstream + " " + n.Name, Quiet: causeQuiet})
	}
	return news, nil
}

// ended returns the news of the notes about batches, in the order in which they ended. left
// are batches that are looked at again later.
func (c *Collector) ended(ctx context.Context, notes []ledger.Note, now time.Time) (news []News, left map[string]bool, err error) {
	names := map[string]bool{}
	for _, n := range notes {
		if !n.Cause {
			names[n.Name] = true
		}
	}
	batches, err := c.feed.Ended(ctx, slices.Sorted(maps.Keys(names))...)
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(batches, func(a, b ledger.EndedBatch) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Name, b.Name)) })
	left = map[string]bool{}
	for _, b := range batches {
		if b.At.After(now.Add(-settle)) {
			left[b.Name] = true // its last call was in another queue
			continue
		}
		id := idOf(TypeBatchEnded, b.Name, b.At.UnixMicro())
		m, err := MessageOf(BatchEnded{
			ID: id, At: b.At, Batch: b.Name, Created: b.Created.UTC(), Accepted: b.Counts.Accepted,
			Done: b.Counts.Done, Dead: b.Counts.Dead, Dropped: b.Counts.Dropped, Cancelled: b.Counts.Cancelled,
		})
		if err != nil {
			return nil, nil, err
		}
		news = append(news, News{Message: m, Name: id, Quiet: batchQuiet})
	}
	return news, left, nil
}

// changes returns the news about circuits.
func (c *Collector) changes(ctx context.Context, queues []string, now time.Time) ([]News, error) {
	upstreams := map[string]bool{}
	for _, queue := range queues {
		upstreams[tasks.UpstreamOf(queue)] = true
	}
	told, err := c.Store.Told(ctx)
	if err != nil {
		return nil, err
	}
	records, err := c.Circuits.Watch(ctx, slices.Sorted(maps.Keys(upstreams)))
	if err != nil {
		return nil, err
	}
	var news []News
	for _, r := range records {
		more, err := changesOf(r, told[r.Name.String()], now)
		if err != nil {
			return nil, err
		}
		news = append(news, more...)
	}
	return news, nil
}

// changesOf returns what is to be told of a circuit of which was told that it is open since
// the given time; zero for nothing. A hold of some seconds is not told: the holds of a rate
// come and go many times a minute.
func changesOf(r circuit.Record, told, now time.Time) (news []News, err error) {
	name := r.Name.String()
	open := r.State == circuit.Open
	if !told.IsZero() && (!open || !r.Since.Equal(told)) {
		id := idOf(TypeCircuitClosed, name, told.UnixMilli())
		m, err := MessageOf(CircuitClosed{ID: id, At: now.Truncate(time.Second), Circuit: name, Upstream: r.Name.Upstream, Endpoint: r.Name.Endpoint, Opened: told.UTC()})
		if err != nil {
			return nil, err
		}
		news = append(news, News{Message: m, Name: id, Quiet: circuitQuiet, Circuit: name})
		told = time.Time{}
	}
	if !open || r.Since.Equal(told) || r.Until.Sub(now) < waiting.MinReportedHold && now.Sub(r.Since) < waiting.MinReportedHold {
		return news, nil
	}
	id := idOf(TypeCircuitOpened, name, r.Since.UnixMilli())
	m, err := MessageOf(CircuitOpened{
		ID: id, At: r.Since, Circuit: name, Upstream: r.Name.Upstream, Endpoint: r.Name.Endpoint,
		Reason: r.Reason, Why: waiting.WhyOpen(r), Until: r.Until.UTC(), Waiting: r.Waiting,
	})
	if err != nil {
		return nil, err
	}
	return append(news, News{Message: m, Name: id, Quiet: circuitQuiet, Circuit: name, Since: r.Since}), nil
}
