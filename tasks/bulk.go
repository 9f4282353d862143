package tasks

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Summary counts what became of the calls of one [Producer.SubmitAll].
type Summary struct {
	Accepted, Duplicate, Refused int
	// Errors are the first refusals, at most 1,000 of them.
	Errors []*FieldError
}

const (
	maxSummaryErrors = 1000
	// A script that accepts chunkCalls calls takes 2 to 6 milliseconds: Redis serves no other
	// client meanwhile.
	chunkCalls = 150
	chunkBytes = 1 << 20
	senders    = 4
)

// SubmitAll puts calls into the queue in bulk, as one batch: concurrently, pipelined,
// and in bounded memory whatever their number. A refused call, or an element whose
// error is a [*FieldError], is counted, and the others go on; any other error stops,
// and so does an error of Redis. Calls that were accepted before the error stay
// accepted: submit the same calls again to add the rest. A call without a key gets its
// [ContentKey]: equal calls are then one call, the first of them.
func (p *Producer) SubmitAll(ctx context.Context, batch string, calls iter.Seq2[Call, error]) (Summary, error) {
	return p.SubmitLines(ctx, batch, func(yield func(Line, error) bool) {
		n := 0
		for c, err := range calls {
			n++
			if !yield(Line{Number: n, Call: c}, err) {
				return
			}
		}
	}, nil)
}

// SubmitLines is [Producer.SubmitAll] for lines of a file; refusals have the line's
// number. refused, unless nil, is called for each refusal, from one goroutine at a
// time.
func (p *Producer) SubmitLines(ctx context.Context, batch string, lines iter.Seq2[Line, error], refused func(*FieldError)) (Summary, error) {
	if err := CheckBatch(batch); err != nil {
		return Summary{}, err
	}
	if p.tracer == nil {
		return p.sendLines(ctx, batch, lines, refused)
	}
	ctx, span := p.tracer.sendBatch(ctx, batch)
	summary, err := p.sendLines(ctx, batch, lines, refused)
	endSendBatch(span, summary, err)
	return summary, err
}

func (p *Producer) sendLines(ctx context.Context, batch string, lines iter.Seq2[Line, error], refused func(*FieldError)) (Summary, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	b := &bulk{p: p, batch: batch, refused: refused, cancel: cancel, full: make(chan *chunk, 1), work: make(chan *chunk, 1)}
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() { b.send(ctx) })
	}
	wg.Go(func() { b.claim(ctx) })
	err := b.read(ctx, lines)
	close(b.full)
	wg.Wait()
	if cause := context.Cause(ctx); err == nil && cause != nil {
		err = cause
	}
	return b.summary, err
}

// chunk is a group of calls that one step sends to Redis.
type chunk struct {
	entries []ledger.Entry
	lines   []int
	claimed []ledger.Claimed
	bytes   int
}

// bulk is a running SubmitLines: one goroutine reads; one claims the keys in order, so
// that the first of two lines with one key wins; and several accept.
type bulk struct {
	p       *Producer
	batch   string
	refused func(*FieldError)
	cancel  context.CancelCauseFunc
	full    chan *chunk // from the reader
	work    chan *chunk // claimed

	mu      sync.Mutex
	summary Summary
}

func (b *bulk) read(ctx context.Context, lines iter.Seq2[Line, error]) error {
	c := &chunk{}
	for line, err := range lines {
		var hash string
		if err == nil {
			line.Call.Batch = b.batch
			line.Call, hash, err = b.p.rules.checkLine(line.Call)
		}
		var entry ledger.Entry
		if err == nil {
			entry, err = b.p.entry(b.p.tracer.create(ctx, line.Call), line.Call, hash)
		}
		var bad *FieldError
		if errors.As(err, &bad) {
			if bad.Line == 0 {
				bad.Line = line.Number
			}
			b.refuse(bad)
			continue
		}
		if err != nil {
			return err
		}
		c.entries = append(c.entries, entry)
		c.lines = append(c.lines, line.Number)
		c.bytes += len(entry.Content)
		if len(c.entries) >= chunkCalls || c.bytes >= chunkBytes {
			if err := b.hand(ctx, c); err != nil {
				return err
			}
			// The next one is as long.
			c = &chunk{entries: make([]ledger.Entry, 0, len(c.entries)), lines: make([]int, 0, len(c.lines))}
		}
	}
	return b.hand(ctx, c)
}

func (b *bulk) hand(ctx context.Context, c *chunk) error {
	if len(c.entries) == 0 {
		return nil
	}
	select {
	case b.full <- c:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (b *bulk) claim(ctx context.Context) {
	defer close(b.work)
	for c := range b.full {
		var err error
		if c.claimed, err = b.p.ledger.Claim(ctx, b.batch, c.entries); err != nil {
			b.cancel(err)
			continue
		}
		b.work <- c
	}
}

func (b *bulk) send(ctx context.Context) {
	for c := range b.work {
		verdicts, err := b.p.ledger.Accept(ctx, b.batch, c.entries, c.claimed)
		if err != nil {
			b.cancel(err)
		}
		for i, v := range verdicts {
			b.count(v, c.lines[i], c.entries[i].Key)
		}
	}
}

func (b *bulk) count(v ledger.Acceptance, line int, key string) {
	switch v {
	case ledger.Accepted, ledger.Duplicate:
		b.mu.Lock()
		defer b.mu.Unlock()
		if v == ledger.Accepted {
			b.summary.Accepted++
		} else {
			b.summary.Duplicate++
		}
	case ledger.Conflict:
		b.refuse(&FieldError{
			Line: line, Field: "key",
			Problem: fmt.Sprintf("%q is already the key of a different call in this batch", key),
			Fix:     "give each call its own key, or send the file as another batch",
		})
	}
}

func (b *bulk) refuse(e *FieldError) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.summary.Refused++
	if len(b.summary.Errors) < maxSummaryErrors {
		b.summary.Errors = append(b.summary.Errors, e)
	}
	if b.refused != nil {
		b.refused(e)
	}
}
