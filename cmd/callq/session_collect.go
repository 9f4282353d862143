package main

import (
	"context"
	"errors"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

// collect writes the results of the calls that have ended since it was called
// last.
func (s *session) collect(ctx context.Context) error {
	for _, i := range s.inUse() {
		if s.cursors[i] == nil {
			s.cursors[i] = &ledger.Cursor{}
		}
		for r, err := range s.desk.ledger.Endings(ctx, s.batch(i), s.cursors[i]) {
			if errors.Is(err, ledger.ErrNoBatch) {
				break
			}
			if err != nil {
				return errors.Join(err, s.flush())
			}
			if !s.plan.end(r.Key, r.Hash, r.ID, i, tasks.State(r.State)) {
				s.room.leave(r.ID)
				if i < firstOther && r.State == ledger.Done && s.plan.done(r.Key, r.Hash) {
					s.mayGo(r) // a run that was killed has written it
				}
				continue
			}
			result := records.Result(r)
			result.BaseURL = s.apis[result.Upstream]
			result.Line = s.plan.line(r.Key, r.Hash)
			if err := s.out.add(result); err != nil {
				return s.flushed(err)
			}
			s.unwritten = append(s.unwritten, [2]string{result.Key, result.Digest})
			s.tally.add(result)
			if result.BodyFreed {
				s.bodiless++
			}
			if h := s.horizons[i]; h != nil && h.Has(r) {
				s.known++
			}
			s.mayGo(r)
			if s.heavy >= syncAfter {
				if err := errors.Join(s.flush(), s.sync(ctx)); err != nil {
					return err
				}
			}
		}
	}
	return s.flush()
}

// flush writes the results that were added.
func (s *session) flush() error {
	if err := s.out.flush(); err != nil {
		return s.flushed(err)
	}
	s.written.Store(int64(s.plan.accepted - s.plan.open()))
	return nil
}

func (s *session) flushed(err error) error {
	if err == nil {
		return nil
	}
	return &outError{err, s.next}
}

// sync makes the results safe, and frees the bodies that Redis need not keep.
func (s *session) sync(ctx context.Context) error {
	s.synced = time.Now()
	if err := s.out.sync(); err != nil {
		return &outError{err, s.next}
	}
	for _, call := range s.unwritten {
		s.sent.ended(call[0], call[1])
	}
	s.unwritten = s.unwritten[:0]
	s.heavy = 0
	return s.free(ctx)
}
