package filerun

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

var (
	// ErrInterrupted says that the context ended before all calls had. Those on their
	// way have ended and are in the results; the others wait for the next run.
	ErrInterrupted = errors.New("interrupted before all calls had ended")
	// ErrWorkerEnded says that the worker ended before the calls did.
	ErrWorkerEnded = errors.New("the worker ended before the calls did")
	// ErrInputChanged says that calls were not found again when the input was read for
	// the second time.
	ErrInputChanged = errors.New("the input was changed while it was read")
	// ErrCallsGone says that calls of the run are not in Redis any more: it was emptied,
	// or somebody cancelled them.
	ErrCallsGone = errors.New("calls are gone from Redis: it was emptied, or another process has cancelled them")
	// ErrBusy says that a worker still holds a call that is to be made again.
	ErrBusy = errors.New("a worker still holds a call that is to be made again")
	// ErrReaderLeft says that nobody reads the results any more, as behind a pipe.
	ErrReaderLeft = errors.New("the reader of the results left before it had all of them")
)

// Problem says what is wrong with what Run was given. The set is closed.
type Problem string

// The problems.
const (
	ProblemCalls        Problem = "calls"         // the input cannot be read, or has no calls
	ProblemOutput       Problem = "output"        // Out cannot be opened
	ProblemOutputInUse  Problem = "output_in_use" // another run writes to Out
	ProblemOutputCalls  Problem = "output_calls"  // Out is the file of calls
	ProblemNotResults   Problem = "not_results"   // Out has a line that is not a result
	ProblemOtherResults Problem = "other_results" // Out has the results of another input
	ProblemJournal      Problem = "journal"       // OUT.sent cannot be read
	ProblemUnknownCalls Problem = "unknown_calls" // RedoCalls has keys that no call of the input has
	ProblemOtherAPI     Problem = "other_api"     // results or calls were made with another base URL
	ProblemConfig       Problem = "configuration" // what Connect was to open cannot be
)

// InputError says that Run cannot work with what it was given. No call was made.
type InputError struct {
	Problem Problem
	Err     error
}

// Error says what is wrong and where.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// inputError makes an [InputError].
func inputError(p Problem, format string, args ...any) error {
	return &InputError{Problem: p, Err: fmt.Errorf(format, args...)}
}

// StorageError says that results, or notes in the journal, cannot be written. What was
// written before is whole; a run with the same Out goes on.
type StorageError struct {
	File string // empty: Config.Writer
	Err  error
}

// Error says what cannot be written, and why.
func (e *StorageError) Error() string {
	name := e.File
	if name == "" {
		name = "the results"
	}
	return fmt.Sprintf("cannot write %s: %v", name, e.Err)
}

// Unwrap returns the cause.
func (e *StorageError) Unwrap() error { return e.Err }

// RescueError says what became of results that could not be written and that no Redis
// keeps either.
type RescueError struct {
	Results int
	// File is where they are instead, lines that Out takes; empty where they are lost.
	File string
	// Err is why they are lost.
	Err error
}

// Error says where the results are.
func (e *RescueError) Error() string {
	if e.File == "" {
		return fmt.Sprintf("%d results could not be written and are lost, as the queue was in this process: %v", e.Results, e.Err)
	}
	return fmt.Sprintf("%d results could not be written and are in %s instead, as the queue was in this process", e.Results, e.File)
}

// Unwrap returns the cause.
func (e *RescueError) Unwrap() error { return e.Err }

// StuckError says that a circuit used up Config.Patience.
type StuckError struct {
	Circuit string
	Class   policy.Class
	// Why is what the API said.
	Why      string
	Patience time.Duration
}

// Error says which circuit it is.
func (e *StuckError) Error() string {
	return fmt.Sprintf("%s has been unusable for %s (%s)", e.Circuit, e.Patience, e.Why)
}
