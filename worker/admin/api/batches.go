package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Paging says which part of a list to return.
type Paging struct {
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"How many to return at most."`
	After string `query:"after" maxLength:"4096" doc:"Where to continue: the value in the link of the answer before."`
}

// next returns the Link header (RFC 8288) to the following part of a list; empty at the end.
func (p Paging) next(path string, query url.Values, after string) string {
	if after == "" {
		return ""
	}
	query.Set("limit", strconv.Itoa(p.Limit))
	query.Set("after", after)
	return fmt.Sprintf(`<%s?%s>; rel="next"`, path, query.Encode())
}

type batchesAnswer struct {
	Link string           `header:"Link"`
	Body []jsonform.Batch `nullable:"false"`
}

// batches returns the batches, the newest first.
func (a *API) batches(ctx context.Context, in *Paging) (*batchesAnswer, error) {
	found, next, err := a.cfg.Ledger.RecentBatches(ctx, in.After, in.Limit)
	if errors.Is(err, tasks.ErrNoBatch) {
		return nil, problem.New(http.StatusUnprocessableEntity, "after names a batch that is not there any more; begin again without after")
	}
	if err != nil {
		return nil, err
	}
	out := &batchesAnswer{Link: in.next("/v1/batches", url.Values{}, next), Body: []jsonform.Batch{}}
	for _, b := range found {
		out.Body = append(out.Body, batchOf(tasks.BatchInfo{Name: b.Name, Created: b.Created, Counts: tasks.Counts(b.Counts)}))
	}
	return out, nil
}

func batchOf(b tasks.BatchInfo) jsonform.Batch {
	form := jsonform.BatchOf(b)
	form.CreatedAt = b.Created.UTC()
	return form
}

// BatchName is the name of a batch in a path.
type BatchName struct {
	Name string `path:"name" doc:"The name of the batch." example:"calls-1f00baa5"`
}

type batchAnswer struct{ Body jsonform.Batch }

// batch returns a batch and why its open calls wait.
func (a *API) batch(ctx context.Context, in *BatchName) (*batchAnswer, error) {
	b, err := a.cfg.Client.Batch(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	out := &batchAnswer{batchOf(b)}
	if b.Counts.Open > 0 {
		facts, err := waiting.Read(ctx, a.cfg.Redis, waiting.Query{
			Configured: a.cfg.Concurrency, Batches: []string{b.Name}, MaxMemory: a.cfg.MaxMemory,
		})
		if err != nil {
			return nil, err
		}
		out.Body.Waits = waiting.Decide(facts)
	}
	return out, nil
}

type documentAnswer struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        []byte
}

func (a *API) openAPI(context.Context, *struct{}) (*documentAnswer, error) {
	text, err := a.document()
	return &documentAnswer{"application/json", text}, err
}
