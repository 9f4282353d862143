package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

const (
	// mostUsages is how many batches doctor measures, and usageTime how long that may
	// take.
	mostUsages = 10
	usageTime  = 3 * time.Second
)

// batchUsage is the memory that a batch uses in Redis, in bytes.
type batchUsage struct {
	Batch   string `json:"batch"`
	Calls   int64  `json:"calls"`
	Bodies  int64  `json:"bodies"`
	Records int64  `json:"records"`
	Claims  int64  `json:"claims"`
	Lists   int64  `json:"lists"`
}

func (u batchUsage) total() int64 { return u.Bodies + u.Records + u.Claims + u.Lists }

// checkMemory reports the memory of the batches, the largest first, and how much of
// ledger.max_memory the results use.
func checkMemory(ctx context.Context, d *doctor) ([]diagnosis, error) {
	batches, err := d.backend.ledger.Batches(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := d.backend.ledger.Bodies(ctx)
	if err != nil {
		return nil, err
	}
	// Before they are measured, the order by size is only an estimate.
	weight := func(b ledger.Batch) int64 { return b.Bodies + 1000*(b.Counts.Accepted-b.Counts.Expired) }
	slices.SortStableFunc(batches, func(a, b ledger.Batch) int { return cmp.Compare(weight(b), weight(a)) })
	ctx, cancel := context.WithTimeout(ctx, usageTime)
	defer cancel()
	for _, b := range batches[:min(len(batches), mostUsages)] {
		u, err := d.backend.ledger.Usage(ctx, b, tasks.TaskID)
		if errors.Is(err, context.DeadlineExceeded) {
			break
		}
		if err != nil {
			return nil, err
		}
		d.usages = append(d.usages, batchUsage{
			Batch: b.Name, Calls: b.Counts.Accepted - b.Counts.Expired,
			Bodies: u.Bodies, Records: u.Records, Claims: u.Claims, Lists: u.Lists,
		})
	}
	slices.SortStableFunc(d.usages, func(a, b batchUsage) int { return cmp.Compare(b.total(), a.total()) })
	most := d.cfg.Ledger.MaxMemory
	list := []diagnosis{{
		Status: healthy,
		Detail: fmt.Sprintf("the results of %s use %s of the %s that ledger.max_memory allows",
			console.Plural(len(batches), "batch"), waiting.SizeText(kept), waiting.SizeText(most)),
	}}
	if kept >= most/5*4 {
		list[0].Status = noted
		list[0].Fix = "export batches with callq batch export NAME -o FILE, which frees their results when the limit is reached or with ledger.bodies: drop, or delete them with callq batch delete NAME"
	}
	for _, u := range d.usages {
		list = append(list, diagnosis{Status: healthy, Detail: fmt.Sprintf("batch %s: %s, about %s: bodies %s, records %s, keys %s, lists %s",
			u.Batch, console.Plural(int(u.Calls), "call"), waiting.SizeText(u.total()), waiting.SizeText(u.Bodies), waiting.SizeText(u.Records), waiting.SizeText(u.Claims), waiting.SizeText(u.Lists))})
	}
	if more := len(batches) - len(d.usages); more > 0 {
		list = append(list, diagnosis{Status: healthy, Detail: fmt.Sprintf("%s not measured, because they are smaller or it takes too long", console.Subject(more, "batch", "was", "were"))})
	}
	return list, nil
}
