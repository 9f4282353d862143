package jsonform

import (
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// Batch is a batch with its counts. Accepted is the sum of the counts after it.
type Batch struct {
	Batch     string `json:"batch" doc:"The name of the batch."`
	Accepted  int64  `json:"accepted" doc:"How many calls were accepted: the sum of the following counts."`
	Open      int64  `json:"open" doc:"Calls that wait or are being made."`
	Done      int64  `json:"done" doc:"Calls that succeeded."`
	Dead      int64  `json:"dead" doc:"Calls that failed for good and wait for a person."`
	Dropped   int64  `json:"dropped" doc:"Calls that could never succeed."`
	Cancelled int64  `json:"cancelled" doc:"Calls that were cancelled."`
	// CreatedAt is when its first call was sent. Only the HTTP API has it.
	CreatedAt time.Time `json:"created_at,omitzero" doc:"When its first call was accepted."`
	// Waits are the reasons why open calls wait. Only the status of one batch has them.
	Waits []waiting.Reason `json:"waits,omitempty" nullable:"false" doc:"Why open calls wait. Only the answer for one batch has it."`
}

// BatchOf returns the form of a batch.
func BatchOf(b tasks.BatchInfo) Batch {
	c := b.Counts
	return Batch{
		Batch: b.Name, Accepted: c.Accepted, Open: c.Open, Done: c.Done, Dead: c.Dead, Dropped: c.Dropped, Cancelled: c.Cancelled,
	}
}

// Refusal is why a line is not a call, or cannot be accepted.
type Refusal struct {
	Line  int    `json:"line" doc:"The line, from 1."`
	Error string `json:"error" doc:"What is wrong with it, and what to do."`
}

// RefusalOf returns the form of a refusal.
func RefusalOf(e *tasks.FieldError) Refusal {
	// The line has its own field.
	bare := *e
	bare.Line = 0
	return Refusal{Line: e.Line, Error: bare.Error()}
}

// Receipt has the names of a call that was accepted.
type Receipt struct {
	ID        string `json:"id" doc:"The id of the call."`
	Batch     string `json:"batch" doc:"Its batch."`
	Key       string `json:"key" doc:"Its key, unique in the batch."`
	Duplicate bool   `json:"duplicate" doc:"The same key with the same content was there already."`
}

// ReceiptOf returns the form of a receipt.
func ReceiptOf(r tasks.Receipt) Receipt { return Receipt(r) }
