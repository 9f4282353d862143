// Package bridge lets package records use what package tasks knows of ledger records and
// does not show: the stable face of tasks names no type of the ledger, which may change.
// Package tasks sets the functions when it is initialised.
package bridge

import (
	"context"
	"time"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// Result writes a record as a line of a results file: it returns a tasks.Result.
var Result func(ledger.Record) any

// Task returns asynq's encoding of the task of a call, and the call's deadline, or zero.
// It fails for a call whose content cannot be read, with tasks.ErrMalformed or
// tasks.ErrNewerVersion.
var Task func(context.Context, *broker.Encoder, ledger.Record) (message string, deadline time.Time, err error)
