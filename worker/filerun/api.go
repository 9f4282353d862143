package filerun

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// apiError makes an [InputError] of a changed base URL, and leaves other errors alone.
func apiError(err error) error {
	if changed := (*baseurl.ChangedError)(nil); errors.As(err, &changed) {
		return &InputError{Problem: ProblemOtherAPI, Err: err}
	}
	return err
}

// checkAPIs refuses to go on where results, the journal, or calls in Redis are of
// another base URL.
func (r *runner) checkAPIs(ctx context.Context, prev *previousRun) error {
	if !r.cfg.SameAPI {
		err := errors.Join(
			apiError(r.urls.Check(r.out.name, prev.madeWith(r.urls))),
			apiError(r.urls.Check(r.journal.path, r.journal.madeWith(r.urls))))
		if err != nil {
			return err
		}
	}
	unknown := map[string]bool{}
	for name := range prev.nowhere {
		unknown[name] = len(prev.apis[name]) == 0
	}
	if r.back != nil && !r.unasked {
		err := r.eachBatch(ctx, func(i int, b ledger.Batch) error {
			names, err := r.urls.CheckBatch(ctx, r.back.ledger, b, r.plan.upstreams, r.cfg.SameAPI)
			for name := range b.APIs {
				delete(unknown, name)
			}
			for _, name := range names {
				unknown[name] = len(prev.apis[name]) == 0
			}
			if err != nil && prev.results == 0 {
				return errors.Join(apiError(err), r.restore(ctx, i, b))
			}
			return apiError(err)
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if unknown[name] && r.urls[name] != "" {
			r.tell(APIUnrecorded{Upstream: name, BaseURL: r.urls[name]})
		}
	}
	return nil
}

// restore writes into a results file that has none the results that Redis has of
// another base URL: they are finished, and Redis forgets them one day.
func (r *runner) restore(ctx context.Context, i int, b ledger.Batch) error {
	if r.out.file == nil {
		return nil
	}
	n := 0
	for record, err := range r.back.ledger.Endings(ctx, b.Name, &ledger.Cursor{}) {
		if err != nil {
			return errors.Join(err, r.out.sync())
		}
		if !r.plan.end(record.Key, record.Hash, record.ID, i, tasks.State(record.State)) {
			continue
		}
		result := records.Result(record)
		result.BaseURL, result.Line = b.APIs[result.Upstream], r.plan.line(record.Key, record.Hash)
		if err := r.out.add(result); err != nil {
			return err
		}
		n++
	}
	if n > 0 {
		r.tell(ResultsRestored{Results: n})
	}
	return r.out.sync()
}

// madeWith are those base URLs of the results that differ from the ones of now.
func (e *previousResults) madeWith(now baseurl.Set) map[string]string {
	made := map[string]string{}
	for name, bases := range e.apis {
		for base := range bases {
			if now.Differ(name, base) && (made[name] == "" || base < made[name]) {
				made[name] = base
			}
		}
	}
	return made
}
