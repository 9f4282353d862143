package batchreport

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/internal/decimal"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// Config configures [Make]. Redis is required.
type Config struct {
	// Redis is the queue's. It is not closed.
	Redis redis.UniversalClient
	// Prices are the costs that the configuration names, by upstream.
	Prices map[string]Price
	// Progress, unless nil, is called after each call that was read, with their number.
	Progress func(calls int64)
}

// Price is what the configuration says of the cost of an upstream's calls.
type Price struct {
	// Currency is that of its budget; empty if it has none.
	Currency string
	// PerCall is cost.per_call in millionths; 0 for none.
	PerCall int64
	// Billed reports that the budget counts what the API's answers say (cost.header).
	Billed bool
}

// shownCauses is how many causes have examples with their method and path.
const shownCauses = 50

// Make reads a batch and returns the report, or [ledger.ErrNoBatch]. Other errors are about
// Redis.
func Make(ctx context.Context, cfg Config, batch string) (*Report, error) {
	l := ledger.New(cfg.Redis)
	b, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	now, err := cfg.Redis.Time(ctx).Result()
	if err != nil {
		return nil, fmt.Errorf("read Redis's clock: %w", err)
	}
	now = now.UTC()
	last, err := lastEnding(ctx, l, b)
	if err != nil {
		return nil, err
	}
	report := &Report{Batch: batch, MadeAt: now, CreatedAt: b.Created, Unknown: []string{}}
	to := now
	if b.Counts.Open == 0 && !last.IsZero() {
		to, report.EndedAt = last, last
	}
	c := newCollector(now, b.Created, to)
	read := int64(0)
	for r, err := range l.Histories(ctx, batch, tasks.TaskID) {
		if err != nil {
			return nil, err
		}
		c.add(r)
		if read++; cfg.Progress != nil {
			cfg.Progress(read)
		}
	}
	c.fill(report)
	report.Calls.Forgotten = b.Counts.Expired
	for i := range report.Upstreams {
		report.Upstreams[i].BaseURL = b.APIs[report.Upstreams[i].Name]
	}
	report.Money = c.moneyOf(report.Upstreams, cfg.Prices)
	if report.Causes, err = withExamples(ctx, l, c.causes.list()); err != nil {
		return nil, err
	}
	holds := map[string][]circuit.Hold{}
	circuits := circuit.NewStore(cfg.Redis, "")
	for _, u := range report.Upstreams {
		if holds[u.Name], err = circuits.Holds(ctx, u.Name, now); err != nil {
			return nil, err
		}
	}
	report.Time = c.timeOf(holds)
	report.Unknown = c.unknown(report, holds)
	return report, nil
}

// lastEnding returns when the last call of the batch ended; zero if none has.
func lastEnding(ctx context.Context, l *ledger.Ledger, b ledger.Batch) (last time.Time, err error) {
	watermark, err := l.Watermark(ctx, b.Name)
	for _, us := range watermark {
		if at := time.UnixMicro(us).UTC(); at.After(last) {
			last = at
		}
	}
	return last, err
}

// moneyOf returns what the requests cost, for upstreams of which anything is known.
func (c *collector) moneyOf(upstreams []Upstream, prices map[string]Price) []Money {
	list := []Money{}
	for _, u := range upstreams {
		sums, price := c.money[u.Name], prices[u.Name]
		m := Money{
			Upstream: u.Name, Currency: price.Currency, Billed: sums.billed.String(), Answers: sums.answers, BilledResults: sums.results.String(),
		}
		cost := sums.billed
		if price.PerCall > 0 || price.Billed {
			var counted decimal.Sum
			unbilled := sums.requests
			if price.Billed {
				counted.AddSum(sums.billed)
				unbilled -= sums.answers
			}
			counted.AddTimes(price.PerCall, unbilled)
			m.Counted, cost = counted.String(), counted
		}
		if m.Billed == "" && m.Counted == "" {
			continue
		}
		m.PerResult = cost.Per(u.Results)
		list = append(list, m)
	}
	return list
}

// withExamples returns the causes; those that are shown have the method and the path of
// their examples.
func withExamples(ctx context.Context, l *ledger.Ledger, sums []*causeSum) ([]Cause, error) {
	list := make([]Cause, 0, len(sums))
	for i, sum := range sums {
		if i < shownCauses {
			for j, one := range sum.latest {
				r, err := l.Get(ctx, one.queue, one.ID)
				if errors.Is(err, ledger.ErrNoCall) {
					continue
				}
				if err != nil {
					return nil, err
				}
				if call, err := records.Call(&r); err == nil { // else it was purged
					sum.Examples[j].Method, sum.Examples[j].Path = call.Method, call.Path
				}
			}
		}
		list = append(list, sum.Cause)
	}
	return list, nil
}
