package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/shellword"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// problemAdvice says what to do about each problem with the input of a run.
var problemAdvice = map[filerun.Problem]string{
	filerun.ProblemOutputInUse:  "wait until it ends, or choose another file with -o",
	filerun.ProblemOutputCalls:  "choose another file for the results with -o",
	filerun.ProblemNotResults:   "choose another file with -o, or remove the line",
	filerun.ProblemOtherResults: "choose another file with -o, or write the lines of both files into one and run that",
	filerun.ProblemUnknownCalls: "remove it from --redo-keys or --redo-from, or add its line to the file",
	filerun.ProblemOtherAPI:     sameAPIAdvice,
}

// sameAPIAdvice says what to do if results were made with another base URL.
const sameAPIAdvice = "change base_url back, or use a copy of the file under another name and another OUT for the new one; if both are the same API, add --same-api"

// withAdvice adds to the error of a run what to do.
func (r *fileRun) withAdvice(err error, sum filerun.Summary) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []error
		for _, one := range joined.Unwrap() {
			parts = append(parts, r.withAdvice(one, sum))
		}
		return errors.Join(parts...)
	}
	next := r.howToContinue(sum.Continue)
	var input *filerun.InputError
	var rescue *filerun.RescueError
	var storage *filerun.StorageError
	var stuck *filerun.StuckError
	switch {
	case errors.As(err, &input):
		return inputUsage(input)
	case errors.Is(err, filerun.ErrInterrupted) && sum.Batch == "":
		if r.again == "" {
			return errors.New("interrupted")
		}
		return errors.New("interrupted before the first call was made; run the same command again")
	case errors.Is(err, filerun.ErrInterrupted):
		return fmt.Errorf("interrupted: %s not finished; %s", console.Subject(sum.Open, "call", "is", "are"), next)
	case errors.As(err, &rescue):
		return r.rescueAdvice(rescue)
	case errors.Is(err, filerun.ErrReaderClosed):
		return fmt.Errorf("the program that reads %s ended before it had all results; %s", r.outText(), next)
	case errors.As(err, &storage):
		return fmt.Errorf("%s, then %s", r.storageText(err, storage), next)
	case errors.As(err, &stuck):
		return fmt.Errorf("%s; then %s (--redo dead also makes the calls that were refused)",
			stuckLine(stuck.Circuit, stuck.Class, stuck.Patience, stuck.Why), next)
	case errors.Is(err, filerun.ErrCallsGone), errors.Is(err, filerun.ErrInputChanged), errors.Is(err, filerun.ErrWorkerEnded):
		return fmt.Errorf("%w; run the same command again", err)
	case errors.Is(err, filerun.ErrBusy):
		return fmt.Errorf("%w; run the same command again in a minute", err)
	}
	return err
}

// inputUsage returns the usage error for a wrong input.
func inputUsage(e *filerun.InputError) error {
	switch {
	case e.Problem == filerun.ProblemConfig:
		return e.Err
	case e.Problem == filerun.ProblemOutput:
		return usageError("%w", unwritable(e))
	case problemAdvice[e.Problem] != "":
		return usageError("%w; %s", e, problemAdvice[e.Problem])
	}
	return usageError("%w", e)
}

// outText returns the name of the output for people.
func (r *fileRun) outText() string {
	if r.out == "-" {
		return "standard output"
	}
	return r.out
}

// storageText says what cannot be written, why, and what to do.
func (r *fileRun) storageText(err error, e *filerun.StorageError) string {
	text := err.Error()
	if e.File == "" {
		text = fmt.Sprintf("cannot write %s: %v", r.outText(), e.Err)
	}
	return text + "; " + unwrittenAdvice(e.Err)
}

// unwrittenAdvice returns what to do about the error of a write.
func unwrittenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free some space"
	case errors.Is(err, syscall.EFBIG):
		return "raise the limit on the size of files (ulimit -f)"
	case errors.Is(err, fs.ErrNotExist):
		return "make the folder"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "make it writable"
	}
	return "check the disk"
}

// rescueAdvice says where the results are that could not be written to the output.
func (r *fileRun) rescueAdvice(e *filerun.RescueError) error {
	n, file := console.Plural(e.Results, "result"), shellword.Quote(e.File)
	switch {
	case e.File == "":
		text := e.Err.Error()
		if storage := (*filerun.StorageError)(nil); errors.As(e.Err, &storage) {
			text = r.storageText(e.Err, storage)
		}
		return fmt.Errorf("%s could not be written. The queue was in this process, so %s lost: %s", n, itIs(e.Results), text)
	case r.out == "-" || isStream(r.out):
		return fmt.Errorf("%s could not be written. The queue was in this process, so %s now in %s. With -o %s the next run does not make these calls again",
			n, itIs(e.Results), e.File, file)
	}
	return fmt.Errorf("%s could not be written. The queue was in this process, so %s now in %s. Add them to %s before you run the command again: cat %s >> %s",
		n, itIs(e.Results), e.File, r.out, file, shellword.Quote(r.out))
}
