// Package bridge lets package records use functions of package tasks on ledger records
// that are not exported: the stable API of tasks has no type of the ledger, which may
// change. Package tasks sets the functions when it is initialized.
package bridge

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Call returns the call of a record, a tasks.Call. It fails with tasks.ErrMalformed or
// tasks.ErrNewerVersion if its content cannot be read.
var Call func(*ledger.Record) (any, error)

// Content returns what a record stores as the content of a tasks.Call.
var Content func(call any) ([]byte, error)

// Result returns a record as a line of a results file, a tasks.Result.
var Result func(ledger.Record) any

// Task returns asynq's encoding of the task of a call, and the call's deadline, or the
// zero time. It fails with tasks.ErrMalformed or tasks.ErrNewerVersion for a call whose
// content cannot be read.
var Task func(context.Context, *broker.Encoder, ledger.Record) (message string, deadline time.Time, err error)
