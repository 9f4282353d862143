package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// checkAPIs refuses to add to a batch that was made with another base_url.
func (s *sending) checkAPIs(ctx context.Context, d *backend, batch string) error {
	b, err := d.ledger.Batch(ctx, batch)
	if errors.Is(err, ledger.ErrNoBatch) {
		return nil
	}
	if err != nil {
		return err
	}
	now := baseURLsOf(d.cfg)
	unknown, err := now.CheckBatch(ctx, d.ledger, b, nil, s.sameAPI)
	for _, name := range unknown {
		s.progressf("%s", unrecorded("batch "+console.Printable(batch), name, now[name]))
	}
	if changed := (*baseurl.ChangedError)(nil); errors.As(err, &changed) {
		return usageError("%w; %s", err, sameAPIAdvice)
	}
	return err
}

// unrecorded says that an earlier version did not record which API was called.
func unrecorded(what, upstream, base string) string {
	return fmt.Sprintf("%s: results of an earlier version of callq do not say which base_url of upstream %s they are from; callq assumes %s", what, upstream, base)
}
