package api

import (
	"context"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/jsonform"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// batchName is the name of a batch in a path.
type batchName struct {
	Name string `path:"name" doc:"The name of the batch." example:"calls-1f00baa5"`
}

type batchAnswer struct{ Body jsonform.Batch }

func batchOf(b tasks.BatchInfo) jsonform.Batch {
	form := jsonform.BatchOf(b)
	form.CreatedAt = b.Created.UTC()
	return form
}

func (a *API) batch(ctx context.Context, in *batchName) (*batchAnswer, error) {
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
