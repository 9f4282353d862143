// Package records reads and changes calls by their ledger records, for workers, doctor
// and resumable runs. Other programs use tasks.Client. This package is an internal part
// of callq and may change.
package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/internal/bridge"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// maxRestored and maxRestoredBytes bound how many calls one step restores, and how
	// many bytes of them are in memory.
	maxRestored      = 1000
	maxRestoredBytes = 4 << 20
)

// Call returns the call of a record. Its errors wrap [tasks.ErrMalformed] and
// [tasks.ErrNewerVersion].
func Call(r *ledger.Record) (tasks.Call, error) {
	c, err := bridge.Call(r)
	return c.(tasks.Call), err
}

// Content returns what a record stores as the content of a call: what the record and the name
// of its queue do not have already.
func Content(c tasks.Call) ([]byte, error) { return bridge.Content(c) }

// Result returns a record as a line of a results file.
func Result(r ledger.Record) tasks.Result { return bridge.Result(r).(tasks.Result) }

// Store opens calls again and restores their tasks. It is safe for concurrent use.
type Store struct {
	ledger   *ledger.Ledger
	repairer *ledger.Repairer
	encoder  *broker.Encoder
}

// New makes a Store on the given Redis. It fails if this callq was not made for the
// linked asynq.
func New(rdb redis.UniversalClient) (*Store, error) {
	encoder, err := broker.NewEncoder()
	if err != nil {
		return nil, err
	}
	return &Store{ledger: ledger.New(rdb), repairer: ledger.NewRepairer(rdb), encoder: encoder}, nil
}

// Redrive opens a call that is dead, dropped or cancelled again, with a fresh budget,
// if it is in the generation of the record. It reports whether it was redriven; busy
// means that a worker still holds the task: try again.
func (s *Store) Redrive(ctx context.Context, r ledger.Record) (redriven, busy bool, err error) {
	changes, err := s.RedriveAll(ctx, []ledger.Record{r}, false)
	if err != nil {
		return false, false, err
	}
	return changes[0] == ledger.Changed, changes[0] == ledger.StillHeld, nil
}

// RedriveAll opens calls of one queue again, at most [ledger.MaxChanged] and each once, in one
// script, and returns for each what became of it. With done it opens calls that are done too:
// they are made once more, and the records lose the results, which the caller must have kept.
func (s *Store) RedriveAll(ctx context.Context, list []ledger.Record, done bool) ([]ledger.Change, error) {
	calls := make([]ledger.Reopening, len(list))
	for i, r := range list {
		message, deadline, err := bridge.Task(ctx, s.encoder, r)
		if err != nil {
			return nil, fmt.Errorf("call %s cannot be made again: %w", r.ID, err)
		}
		calls[i] = ledger.Reopening{Record: r, Message: message, Deadline: deadline}
	}
	return s.ledger.RedriveAll(ctx, list[0].Queue, calls, done)
}

// Restore puts the task of an orphaned open call back into its queue; see
// [ledger.Repairer.Restore]. It reports whether it was restored: a call that has moved
// on is not an error. It fails for a call whose content cannot be read.
func (s *Store) Restore(ctx context.Context, r ledger.Record, by time.Time) (bool, error) {
	one, err := s.restoring(ctx, r)
	if err != nil {
		return false, err
	}
	applied, err := s.repairer.Restore(ctx, r.Queue, []ledger.Restoring{one}, by)
	return err == nil && applied[0], err
}

func (s *Store) restoring(ctx context.Context, r ledger.Record) (ledger.Restoring, error) {
	message, deadline, err := bridge.Task(ctx, s.encoder, r)
	if err != nil {
		return ledger.Restoring{}, fmt.Errorf("call %s cannot be put back: %w", r.ID, err)
	}
	r.Content, r.Body = nil, nil // the message contains it
	return ledger.Restoring{Record: r, Message: message, Deadline: deadline}, nil
}

// RestoreAll is [Store.Restore] for many calls, each once, and returns how many were
// restored. It calls refused for those whose content cannot be read.
func (s *Store) RestoreAll(ctx context.Context, calls iter.Seq2[ledger.Record, error], by time.Time, refused func(ledger.Record, error)) (restored int, err error) {
	var page []ledger.Restoring
	weight := 0
	flush := func() error {
		if len(page) == 0 {
			return nil
		}
		applied, err := s.repairer.Restore(ctx, page[0].Queue, page, by)
		for _, one := range applied {
			if one {
				restored++
			}
		}
		page, weight = page[:0], 0
		return err
	}
	for r, err := range calls {
		if err != nil {
			return restored, err
		}
		one, err := s.restoring(ctx, r)
		if errors.Is(err, tasks.ErrMalformed) || errors.Is(err, tasks.ErrNewerVersion) {
			refused(r, err)
			continue
		}
		if err != nil {
			return restored, err
		}
		if len(page) == maxRestored || weight+len(one.Message) > maxRestoredBytes || len(page) > 0 && page[0].Queue != r.Queue {
			if err := flush(); err != nil {
				return restored, err
			}
		}
		page = append(page, one)
		weight += len(one.Message)
	}
	return restored, flush()
}
