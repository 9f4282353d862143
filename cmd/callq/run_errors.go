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

// problemAdvice says what to do about what is wrong with the input of a run.
var problemAdvice = map[filerun.Problem]string{
	filerun.ProblemOutputInUse:  "wait for it, or choose another with -o",
	filerun.ProblemOutputCalls:  "choose another file for the results with -o",
	filerun.ProblemNotResults:   "choose another with -o, or take the line out",
	filerun.ProblemOtherResults: "choose another with -o, or put the lines of both files into one and run that",
	filerun.ProblemUnknownCalls: "take it out of --redo-keys or --redo-from, or put its line into the file",
	filerun.ProblemOtherAPI:     sameAPIAdvice,
}

// sameAPIAdvice says what to do where something was made with another base URL.
const sameAPIAdvice = "set base_url back, or for the new one take a copy of the file under another name and another OUT; if both are the same API, add --same-api"

// sentence adds to the error of a run what to do about it.
func (r *fileRun) sentence(err error, sum filerun.Summary) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var parts []error
		for _, one := range joined.Unwrap() {
			parts = append(parts, r.sentence(one, sum))
		}
		return errors.Join(parts...)
	}
	next := r.goOn(sum.Continue)
	var input *filerun.InputError
	var rescue *filerun.RescueError
	var storage *filerun.StorageError
	var stuck *filerun.StuckError
	switch {
	case errors.As(err, &input):
		return inputSentence(input)
	case errors.Is(err, filerun.ErrInterrupted) && sum.Batch == "":
		if r.again == "" {
			return errors.New("interrupted")
		}
		return errors.New("interrupted before the first call was made; run the same command again")
	case errors.Is(err, filerun.ErrInterrupted):
		return fmt.Errorf("interrupted: %s not finished; %s", console.Subject(sum.Open, "call", "is", "are"), next)
	case errors.As(err, &rescue):
		return r.rescueSentence(rescue)
	case errors.Is(err, filerun.ErrReaderClosed):
		return fmt.Errorf("the reader of %s left before it had all results; %s", r.outText(), next)
	case errors.As(err, &storage):
		return fmt.Errorf("%s, then %s", r.storageText(err, storage), next)
	case errors.As(err, &stuck):
		return fmt.Errorf("%s; then %s (with --redo dead also the calls that were refused are made)",
			stuckLine(stuck.Circuit, stuck.Class, stuck.Patience, stuck.Why), next)
	case errors.Is(err, filerun.ErrCallsGone), errors.Is(err, filerun.ErrInputChanged), errors.Is(err, filerun.ErrWorkerEnded):
		return fmt.Errorf("%w; run the same command again", err)
	case errors.Is(err, filerun.ErrBusy):
		return fmt.Errorf("%w; run the same command again in a minute", err)
	}
	return err
}

// inputSentence is the usage error for a wrong input.
func inputSentence(e *filerun.InputError) error {
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

// outText is the name of where the results go.
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

// unwrittenAdvice says what to do about the error of a write.
func unwrittenAdvice(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room"
	case errors.Is(err, syscall.EFBIG):
		return "raise the limit of a file's size (ulimit -f)"
	case errors.Is(err, fs.ErrNotExist):
		return "make the folder"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "make it writable"
	}
	return "see what is wrong with the disk"
}

// rescueSentence says where results are that could not be written.
func (r *fileRun) rescueSentence(e *filerun.RescueError) error {
	n, file := console.Plural(e.Results, "result"), shellword.Quote(e.File)
	switch {
	case e.File == "":
		text := e.Err.Error()
		if storage := (*filerun.StorageError)(nil); errors.As(e.Err, &storage) {
			text = r.storageText(e.Err, storage)
		}
		return fmt.Errorf("%s that could not be written: the queue was in this process, and they are lost with it: %s", n, text)
	case r.out == "-" || isStream(r.out):
		return fmt.Errorf("%s that could not be written: the queue was in this process; they are in %s. With -o %s the next run does not make these calls again",
			n, e.File, file)
	}
	return fmt.Errorf("%s that could not be written: the queue was in this process; they are in %s. Add them to %s before you run the command again: cat %s >> %s",
		n, e.File, r.out, file, shellword.Quote(r.out))
}
