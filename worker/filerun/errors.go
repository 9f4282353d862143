package filerun

import (
	"errors"
	"fmt"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

var (
	// ErrInterrupted means that the context ended before all calls had ended. The calls
	// in flight have ended and are in the results; the others wait for the next run.
	ErrInterrupted = errors.New("interrupted before all calls had ended")
	// ErrWorkerEnded means that the worker ended before the calls did.
	ErrWorkerEnded = errors.New("the worker ended before the calls did")
	// ErrInputChanged means that calls were missing when the input was read for the
	// second time.
	ErrInputChanged = errors.New("the input was changed while it was read")
	// ErrCallsGone means that calls of the run are no longer in Redis: it was emptied, or
	// another process cancelled them.
	ErrCallsGone = errors.New("calls are gone from Redis: it was emptied, or another process has cancelled them")
	// ErrBusy means that a worker still holds a call that must be made again.
	ErrBusy = errors.New("a worker still holds a call that is to be made again")
	// ErrReaderClosed means that the reader of the results closed its end of the pipe.
	ErrReaderClosed = errors.New("the reader of the results closed the pipe before it had all of them")
)

// Problem is what is wrong with the input of Run. The set is closed.
type Problem string

// The problems.
const (
	ProblemCalls        Problem = "calls"         // the input cannot be read, or has no calls
	ProblemOutput       Problem = "output"        // Out cannot be opened
	ProblemOutputInUse  Problem = "output_in_use" // another run writes to Out
	ProblemOutputCalls  Problem = "output_calls"  // Out is the input file
	ProblemNotResults   Problem = "not_results"   // Out has a line that is not a result
	ProblemOtherResults Problem = "other_results" // Out has the results of another input
	ProblemJournal      Problem = "journal"       // OUT.sent cannot be read
	ProblemUnknownCalls Problem = "unknown_calls" // RedoCalls has keys that are not in the input
	ProblemOtherAPI     Problem = "other_api"     // results or calls were made with another base URL
	ProblemConfig       Problem = "configuration" // Connect cannot open its Redis
)

// InputError means that Run cannot start with the given input. No call was made.
type InputError struct {
	Problem Problem
	Err     error
}

// Error says what is wrong and where.
func (e *InputError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *InputError) Unwrap() error { return e.Err }

// inputError returns an [InputError].
func inputError(p Problem, format string, args ...any) error {
	return &InputError{Problem: p, Err: fmt.Errorf(format, args...)}
}

// StorageError means that results, or lines of the journal, cannot be written. All lines
// that were written before are complete. A run with the same Out continues.
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

// RescueError means that results could not be written to Out, and that Redis loses them
// when the process ends.
type RescueError struct {
	Results int
	// File has the results instead, as lines that can be appended to Out. It is empty if
	// the results are lost.
	File string
	// Err is why the results are lost.
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

// StuckError means that a circuit stayed open for Config.Patience.
type StuckError struct {
	Circuit string
	Class   policy.Class
	// Why is the answer of the API.
	Why      string
	Patience time.Duration
}

// Error names the circuit.
func (e *StuckError) Error() string {
	return fmt.Sprintf("%s has been unusable for %s (%s)", e.Circuit, e.Patience, e.Why)
}
