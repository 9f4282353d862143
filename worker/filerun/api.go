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

// apiError returns an [InputError] for a changed base URL, and other errors unchanged.
func apiError(err error) error {
	if changed := (*baseurl.ChangedError)(nil); errors.As(err, &changed) {
		return &InputError{Problem: ProblemOtherAPI, Err: err}
	}
	return err
}

// checkAPIs returns an error if results, the journal, or calls in Redis have another base
// URL.
func (r *runner) checkAPIs(ctx context.Context, prev *previousRun) error {
	if !r.cfg.SameAPI {
		err := errors.Join(
			apiError(r.urls.Check(r.out.name, prev.otherBaseURLs(r.urls))),
			apiError(r.urls.Check(r.journal.path, r.journal.otherBaseURLs(r.urls))))
		if err != nil {
			return err
		}
	}
	unknown := map[string]bool{}
	for name := range prev.withoutAPI {
		unknown[name] = len(prev.apis[name]) == 0
	}
	if r.backend != nil && !r.redisSkipped {
		err := r.eachBatch(ctx, func(i int, b ledger.Batch) error {
			names, err := r.urls.CheckBatch(ctx, r.backend.ledger, b, r.plan.upstreams, r.cfg.SameAPI)
			for name := range b.APIs {
				delete(unknown, name)
			}
			for _, name := range names {
				unknown[name] = len(prev.apis[name]) == 0
			}
			if err != nil && prev.results == 0 {
				return errors.Join(apiError(err), r.restoreResults(ctx, i, b))
			}
			return apiError(err)
		})
		if err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unknown)) {
		if unknown[name] && r.urls[name] != "" {
			r.emit(APIUnrecorded{Upstream: name, BaseURL: r.urls[name]})
		}
	}
	return nil
}

// restoreResults writes the results in Redis, which are of another base URL, to a results
// file without results. They would otherwise be lost when their retention ends.
func (r *runner) restoreResults(ctx context.Context, i int, b ledger.Batch) error {
	if r.out.file == nil {
		return nil
	}
	n := 0
	for record, err := range r.backend.ledger.Endings(ctx, b.Name, &ledger.Cursor{}) {
		if err != nil {
			return errors.Join(err, r.out.sync())
		}
		if !r.plan.recordEnd(record.Key, record.Hash, record.ID, i, tasks.State(record.State)) {
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
		r.emit(ResultsRestored{Results: n})
	}
	return r.out.sync()
}

// otherBaseURLs returns the base URLs of the results that differ from the current ones, by
// upstream.
func (e *previousResults) otherBaseURLs(now baseurl.Set) map[string]string {
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
