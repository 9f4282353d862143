package ledger

import (
	"context"
	"fmt"
)

// Finding is something in the books that does not add up.
type Finding struct {
	Batch   string
	Problem string
	// Keys are the calls concerned, at most some hundreds of them.
	Keys []string
	// Fix says what to do.
	Fix string
}

// maxKeys bounds the keys that one finding names.
const maxKeys = 200

// Audit compares the counts of a batch with its records, one by one, and
// returns what does not add up. Calls that end while it reads are told from
// lost ones by reading them again; id makes a call's id from batch and key.
func (l *Ledger) Audit(ctx context.Context, batch string, id func(batch, key string) string) ([]Finding, error) {
	var seen Counts
	var unclaimed []string
	for r, err := range l.Calls(ctx, batch, id) {
		if err != nil {
			return nil, err
		}
		switch r.State {
		case Open:
			seen.Open++
		case Done:
			seen.Done++
		case Dead:
			seen.Dead++
		case Dropped:
			seen.Dropped++
		case Cancelled:
			seen.Cancelled++
		default:
			unclaimed = append(unclaimed, r.Key)
			continue
		}
		seen.Accepted++
	}
	b, err := l.Batch(ctx, batch)
	if err != nil {
		return nil, err
	}
	var findings []Finding
	if c := b.Counts; !c.Balanced() {
		findings = append(findings, Finding{
			Batch:   batch,
			Problem: fmt.Sprintf("%d accepted, but %d open + %d done + %d dead + %d dropped + %d cancelled", c.Accepted, c.Open, c.Done, c.Dead, c.Dropped, c.Cancelled),
			Fix:     "the counts were changed from outside callq: run callq doctor",
		})
	}
	if missing := b.Counts.Accepted - b.Counts.Expired - seen.Accepted; missing > 0 {
		findings = append(findings, Finding{
			Batch:   batch,
			Problem: fmt.Sprintf("%d accepted calls have no record any more", missing),
			Keys:    unclaimed[:min(len(unclaimed), maxKeys)],
			Fix:     "Redis lost data; send the file again: calls that are in the books are left alone",
		})
	}
	return findings, nil
}
