package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

const (
	// eventsType is the media type of server-sent events.
	eventsType = "text/event-stream"
	// pollEvery is how often a stream of events reads the batch.
	pollEvery = 500 * time.Millisecond
	// progressEvery is the least time between two events with the counts.
	progressEvery = time.Second
	// heartbeatEvery is how often something is sent, so that a broken connection is
	// noticed.
	heartbeatEvery = 15 * time.Second
	// endMark is at the end of the id of the last event.
	endMark = "!end"
)

// events sends the progress of a batch until none of its calls is open.
func (a *API) events(ctx context.Context, in *Position) (*huma.StreamResponse, error) {
	cur, ended, err := in.cursor()
	if err != nil {
		return nil, err
	}
	b, err := a.cfg.Client.Batch(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if ended && b.Counts.Open == 0 {
		// A browser connects again after the end of the stream. This status stops it.
		return &huma.StreamResponse{Body: func(ctx huma.Context) { ctx.SetStatus(http.StatusNoContent) }}, nil
	}
	end, ok := begin(a.streams.downloads)
	if !ok {
		return nil, huma.ErrorWithHeaders(full(), http.Header{"Retry-After": {retryAfterFull}})
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer end()
		ctx, cancel := a.streams.context(hctx.Context())
		defer cancel()
		r, _ := humago.Unwrap(hctx)
		s := &eventStream{api: a, batch: in.Name, cur: cur, to: a.beginDownload(hctx, eventsType), head: r.Method == http.MethodHead}
		s.run(ctx)
	}}, nil
}

// eventStream sends the events of one batch to one client.
type eventStream struct {
	api   *API
	batch string
	cur   *ledger.Cursor
	to    *download
	head  bool

	pending bytes.Buffer
	counts  tasks.Counts
	// sent is when something was sent last, reported when the counts were.
	sent, reported time.Time
	// failing reports that Redis did not answer the last time.
	failing bool
}

// run sends events until the batch has ended, the client has gone, or ctx ends.
func (s *eventStream) run(ctx context.Context) {
	s.pending.WriteString("retry: 2000\n\n")
	if s.send() != nil || s.head {
		return
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ended, err := s.poll(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, tasks.ErrNoBatch), errors.Is(err, errClient):
			return
		case err != nil && !s.failing:
			s.api.log.Warn("the events of a batch wait for Redis", "batch", s.batch, "error", err)
		}
		s.failing = err != nil
		if time.Since(s.sent) >= heartbeatEvery {
			s.pending.WriteString(": heartbeat\n\n")
		}
		if s.send() != nil || ended {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// errClient reports that the client takes no more events.
var errClient = errors.New("the client has gone")

// poll writes what has happened since the last time. ended reports that no call is open.
func (s *eventStream) poll(ctx context.Context) (ended bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	// The counts are read before the endings: if no call is open, all endings are there.
	b, err := s.api.cfg.Client.Batch(ctx, s.batch)
	if err != nil {
		return false, err
	}
	ended = b.Counts.Open == 0
	if now := time.Now(); b.Counts != s.counts && now.Sub(s.reported) >= progressEvery || s.reported.IsZero() {
		s.counts, s.reported = b.Counts, now
		if err := s.event("progress", "", batchOf(b)); err != nil {
			return false, err
		}
	}
	for r, err := range s.api.cfg.Ledger.Endings(ctx, s.batch, s.cur) {
		if err != nil {
			return false, err
		}
		result := records.Result(r)
		result.Body = nil // it may be large; the results and the call have it
		if err := s.event("ending", s.cur.String(), result); err != nil {
			return false, err
		}
		if s.pending.Len() > 64<<10 {
			if s.send() != nil {
				return false, errClient
			}
		}
	}
	if ended {
		return true, s.event("end", s.cur.String()+endMark, batchOf(b))
	}
	return false, nil
}

// event writes one event.
func (s *eventStream) event(name, id string, data any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	s.pending.WriteString("event: " + name + "\n")
	if id != "" {
		s.pending.WriteString("id: " + id + "\n")
	}
	s.pending.WriteString("data: ")
	s.pending.Write(text) // it has no line ends
	s.pending.WriteString("\n\n")
	return nil
}

// send sends what was written.
func (s *eventStream) send() error {
	if s.pending.Len() == 0 {
		return nil
	}
	_, err := s.to.Write(s.pending.Bytes())
	s.pending.Reset()
	s.sent = time.Now()
	if err == nil {
		err = s.to.flush()
	}
	return err
}
