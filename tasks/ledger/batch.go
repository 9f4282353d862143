package ledger

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNoBatch reports a batch that is not in the ledger.
var ErrNoBatch = errors.New("no such batch")

// ErrNoCall reports a call that is not in the ledger, or was forgotten.
var ErrNoCall = errors.New("no such call")

// ErrOpenCalls reports a batch that has open calls.
var ErrOpenCalls = errors.New("the batch has open calls")

// ErrMaybeSent reports a call that cannot be cancelled because it may have been sent.
var ErrMaybeSent = errors.New("the call may have been sent")

// Counts are the counts of a batch. Accepted = Open + Done + Dead + Dropped +
// Cancelled, always.
type Counts struct {
	Accepted, Open, Done, Dead, Dropped, Cancelled int64
	// Expired is how many of the ended calls were forgotten after the retention;
	// ExpiredDead is how many of these were purged dead letters.
	Expired, ExpiredDead int64
}

// Add returns the sum.
func (c Counts) Add(o Counts) Counts {
	c.Accepted += o.Accepted
	c.Open += o.Open
	c.Done += o.Done
	c.Dead += o.Dead
	c.Dropped += o.Dropped
	c.Cancelled += o.Cancelled
	c.Expired += o.Expired
	c.ExpiredDead += o.ExpiredDead
	return c
}

// Balanced reports whether the counts add up.
func (c Counts) Balanced() bool {
	return c.Accepted == c.Open+c.Done+c.Dead+c.Dropped+c.Cancelled
}

// Batch is a batch with its counts.
type Batch struct {
	Name    string
	Created time.Time
	Queues  []string
	Counts  Counts
	// Open has the open calls of each of its queues.
	Open map[string]int64
	// APIs are the base URLs with which its calls were sent, by upstream, as far as
	// they are known.
	APIs map[string]string
	// Bodies is how many bytes the stored bodies of its results take.
	Bodies int64

	last string // when the latest call of each queue ended
	// unread names counts with a value that callq cannot have written.
	unread []string
}

// Queues lists every queue that ever had a call, in order.
func (l *Ledger) Queues(ctx context.Context) ([]string, error) { return l.queues(ctx) }

func (s store) queues(ctx context.Context) ([]string, error) {
	queues, err := s.rdb.SMembers(ctx, keyQueues).Result()
	if err != nil {
		return nil, fmt.Errorf("list queues: %w", err)
	}
	sort.Strings(queues)
	return queues, nil
}

// SetAPIs sets the base URLs of upstreams for an existing batch.
func (l *Ledger) SetAPIs(ctx context.Context, batch string, urls map[string]string) error {
	pipe := l.rdb.Pipeline()
	for upstream, base := range urls {
		pipe.HSet(ctx, metaKey(batch), "api:"+upstream, base)
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return fmt.Errorf("store the base URLs of batch %q: %w", batch, err)
	}
	return nil
}

// Get returns one call's record, or [ErrNoCall].
func (l *Ledger) Get(ctx context.Context, queue, id string) (Record, error) {
	h, err := l.rdb.HGetAll(ctx, keysOf(queue).record(id)).Result()
	if err != nil {
		return Record{}, fmt.Errorf("read call %s: %w", id, err)
	}
	if len(h) == 0 {
		return Record{}, fmt.Errorf("%w: %s", ErrNoCall, id)
	}
	return recordFromHash(queue, id, hashOf(h)), nil
}

// Find looks for a call in every queue, or returns [ErrNoCall].
func (l *Ledger) Find(ctx context.Context, id string) (Record, error) {
	queues, err := l.Queues(ctx)
	if err != nil {
		return Record{}, err
	}
	for _, queue := range queues {
		r, err := l.Get(ctx, queue, id)
		if errors.Is(err, ErrNoCall) {
			continue
		}
		return r, err
	}
	return Record{}, fmt.Errorf("%w: %s", ErrNoCall, id)
}

// Endings yields the records of a batch's ended calls that are after the cursor, in the
// order in which they ended, and moves the cursor. A call that was redriven and ended
// again is yielded again. After an error the sequence ends; the cursor is behind the
// last record that was yielded. The records have what results are made of: Log, Lineage
// and Earlier are empty.
func (l *Ledger) Endings(ctx context.Context, batch string, cur *Cursor) iter.Seq2[Record, error] {
	return l.endings(ctx, batch, cur, resultFields, nil)
}

// WholeEndings is [Ledger.Endings] with whole records.
func (l *Ledger) WholeEndings(ctx context.Context, batch string, cur *Cursor) iter.Seq2[Record, error] {
	return l.endings(ctx, batch, cur, nil, nil)
}

// EndingsUntil is [Ledger.Endings] up to a watermark, at which the cursor stops too. So it
// ends although the batch is running.
func (l *Ledger) EndingsUntil(ctx context.Context, batch string, cur *Cursor, until Watermark) iter.Seq2[Record, error] {
	return l.endings(ctx, batch, cur, resultFields, func(queue string) string { return strconv.FormatInt(until[queue], 10) })
}

// endings is Endings; names are the fields that are wanted of the records, none are all, and
// until returns the last score of a queue to read, unless it is nil.
func (l *Ledger) endings(ctx context.Context, batch string, cur *Cursor, names []string, until func(queue string) string) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		b, err := l.Batch(ctx, batch)
		if err != nil {
			yield(Record{}, err)
			return
		}
		if cur.last == nil {
			cur.last = map[string]string{}
		}
		streams := make([]*endings, len(b.Queues))
		for i, queue := range b.Queues {
			streams[i] = &endings{l: l, names: names, queue: queue, batch: batch, max: "+inf"}
			if until != nil {
				streams[i].max = until(queue)
			}
		}
		for {
			var next *endings
			for _, s := range streams {
				if err := s.fill(ctx, cur); err != nil {
					yield(Record{}, err)
					return
				}
				if len(s.page) > 0 && (next == nil || s.page[0].at < next.page[0].at) {
					next = s
				}
			}
			if next == nil {
				return
			}
			head := next.page[0]
			next.page = next.page[1:]
			cur.last[next.queue] = head.score
			// A record can be gone, or open again, since its page was listed.
			if head.record.State.Ended() && !yield(head.record, nil) {
				return
			}
		}
	}
}

// endings reads the endings of one queue a page at a time, and as many records of a
// page at once as are not too large together.
type endings struct {
	l            *Ledger
	names        []string
	queue, batch string
	// max is the last score to read.
	max  string
	page []ending
	// rest is the rest of the page, whose records are still to be read.
	rest    []redis.Z
	drained bool
}

type ending struct {
	score  string
	at     float64
	record Record
}

func (s *endings) fill(ctx context.Context, cur *Cursor) error {
	if len(s.page) > 0 {
		return nil
	}
	if len(s.rest) == 0 && !s.drained {
		if err := s.list(ctx, cur); err != nil {
			return err
		}
	}
	if len(s.rest) == 0 {
		return nil
	}
	records, err := s.l.readNext(ctx, s.queue, members(s.rest), s.names)
	if err != nil {
		return err
	}
	s.page = make([]ending, len(records))
	for i, z := range s.rest[:len(records)] {
		s.page[i] = ending{score: scoreText(z), at: z.Score, record: records[i]}
	}
	s.rest = s.rest[len(records):]
	return nil
}

func (s *endings) list(ctx context.Context, cur *Cursor) error {
	from := "-inf"
	if last := cur.last[s.queue]; last != "" {
		from = "(" + last
	}
	zs, err := s.l.rdb.ZRangeByScoreWithScores(ctx, keysOf(s.queue).ended(s.batch),
		&redis.ZRangeBy{Min: from, Max: s.max, Count: page}).Result()
	if err != nil {
		return fmt.Errorf("list ended calls of batch %q: %w", s.batch, err)
	}
	s.drained, s.rest = len(zs) < page, zs
	return nil
}

// Calls yields every call that the batch has claimed, in no order. A claim whose call
// was never accepted, or is missing, yields a Record without a state that has its key.
// Its memory does not grow with the calls.
func (l *Ledger) Calls(ctx context.Context, batch string, id func(batch, key string) string) iter.Seq2[Record, error] {
	return l.claimed(ctx, batch, "*", id, l.each)
}

// claimed yields the calls of a batch whose keys match a Redis pattern, as read returns
// them, each once.
func (l *Ledger) claimed(ctx context.Context, batch, match string, id func(batch, key string) string,
	read func(ctx context.Context, queue string, ids []string) iter.Seq2[Record, error],
) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		var cursor uint64
		seen := newRecent()
		for {
			fields, next, err := l.rdb.HScan(ctx, claimsKey(batch), cursor, match, page).Result()
			if err != nil {
				yield(Record{}, fmt.Errorf("list the calls of batch %q: %w", batch, err))
				return
			}
			type claim struct{ key, id string }
			byQueue := map[string][]claim{}
			for i := 0; i+1 < len(fields); i += 2 {
				if seen.repeated(fields[i]) {
					continue
				}
				hash, queue, _ := strings.Cut(fields[i+1], " ")
				name := claim{key: fields[i], id: fields[i]}
				if hash != adopted {
					name.id = id(batch, name.key)
				}
				byQueue[queue] = append(byQueue[queue], name)
			}
			for queue, names := range byQueue {
				ids := make([]string, len(names))
				for i, name := range names {
					ids[i] = name.id
				}
				i := 0
				for r, err := range read(ctx, queue, ids) {
					if err != nil {
						yield(Record{}, err)
						return
					}
					r.Batch, r.Key = batch, names[i].key
					i++
					if !yield(r, nil) {
						return
					}
				}
			}
			if cursor = next; cursor == 0 {
				return
			}
		}
	}
}
