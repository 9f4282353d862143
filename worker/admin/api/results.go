package api

import (
	"bufio"
	"cmp"
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
)

// Position says where a reader of results or events continues.
type Position struct {
	BatchName
	LastEventID string `header:"Last-Event-ID" maxLength:"16384" doc:"Where to continue: the cursor of the last line or event that has arrived. It comes before after."`
	After       string `query:"after" maxLength:"16384" doc:"The same as the header Last-Event-ID."`
}

// cursor returns the position in the batch's endings. ended reports that the reader has
// already got the event that the batch has ended.
func (p Position) cursor() (cur *ledger.Cursor, ended bool, err error) {
	text, ended := strings.CutSuffix(cmp.Or(p.LastEventID, p.After), endMark)
	if cur, err = ledger.ParseCursor(text); err != nil {
		return nil, false, problem.New(http.StatusUnprocessableEntity,
			"Last-Event-ID or after is not a cursor; take the cursor of the last line that has arrived, or begin without one")
	}
	return cur, ended, nil
}

type resultsRequest struct {
	Position
	State []string `query:"state" nullable:"false" enum:"done,dead,dropped,cancelled" doc:"Only results with one of these states, separated by commas." example:"dead,dropped"`
}

// results sends the results of the calls that have ended so far.
func (a *API) results(ctx context.Context, in *resultsRequest) (*huma.StreamResponse, error) {
	cur, _, err := in.cursor()
	if err != nil {
		return nil, err
	}
	// Calls of the batch may still run. Calls that end from now on are left to the next
	// request, so that this one ends.
	until, err := a.cfg.Ledger.Watermark(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	end, ok := begin(a.streams.downloads)
	if !ok {
		return nil, huma.ErrorWithHeaders(full(), http.Header{"Retry-After": {retryAfterFull}})
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer end()
		a.sendResults(ctx, in, cur, until)
	}}, nil
}

func (a *API) sendResults(hctx huma.Context, in *resultsRequest, cur *ledger.Cursor, until ledger.Watermark) {
	ctx, cancel := a.streams.context(hctx.Context())
	defer cancel()
	to := a.beginDownload(hctx, linesType)
	out := bufio.NewWriterSize(to, 64<<10)
	var line []byte
	err := to.flush() // the client learns at once that the results come
	for r, failed := range a.cfg.Ledger.EndingsUntil(ctx, in.Name, cur, until) {
		if err = cmp.Or(err, failed); err != nil {
			break
		}
		// A call that was redriven and has ended again comes at its new place.
		if !until.Has(r) || len(in.State) > 0 && !slices.Contains(in.State, string(r.State)) {
			continue
		}
		if line, err = resultLine(line[:0], records.Result(r), cur.String()); err != nil {
			break
		}
		if _, err = out.Write(line); err != nil {
			break
		}
	}
	if err = cmp.Or(err, out.Flush()); err != nil {
		if hctx.Context().Err() == nil {
			a.log.Warn("the results of a batch broke off", "batch", in.Name, "error", err)
		}
		// Without the end of the body the client knows that results are missing.
		panic(http.ErrAbortHandler)
	}
}

// beginDownload prepares the answer for a stream.
func (a *API) beginDownload(hctx huma.Context, contentType string) *download {
	_, w := humago.Unwrap(hctx)
	to := &download{w, http.NewResponseController(w), a.streams.idle}
	// The server's time to read a request would end the stream.
	_ = to.controller.SetReadDeadline(time.Time{}) // a test's recorder has none
	w.Header().Set("Content-Type", contentType)
	// A proxy must not collect the stream.
	w.Header().Set("X-Accel-Buffering", "no")
	w.WriteHeader(http.StatusOK)
	return to
}

// resultLine appends a line of a results file with the reader's cursor behind it.
func resultLine(dst []byte, r tasks.Result, cursor string) ([]byte, error) {
	dst, err := tasks.EncodeResult(dst, r)
	if err != nil {
		return dst, err
	}
	dst = append(dst[:len(dst)-len("}\n")], `,"cursor":"`...)
	dst = append(dst, cursor...) // it has no characters that JSON escapes
	return append(dst, "\"}\n"...), nil
}
