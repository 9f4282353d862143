package schedule

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

// maxNamed is how many refused lines of a file have a log line each. The others are only
// counted.
const maxNamed = 20

// CheckFile returns why a file of calls cannot be sent, or nil.
func CheckFile(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens a file of calls. Its errors say what to do.
func open(path string) (*os.File, error) {
	// Opening a pipe would wait until a program writes to it.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file; name a file of calls, one JSON object a line", path)
	}
	if err != nil {
		return nil, unreadable(path, err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	return f, nil
}

func unreadable(path string, err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	return fmt.Errorf("%s cannot be read: %w; put the file there and let the worker read it", path, err)
}

// errorReader keeps the error of the file, to distinguish it from an error of Redis.
type errorReader struct {
	r   io.Reader
	err error
}

// Read implements [io.Reader].
func (r *errorReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// send sends the batch of a tick and renews the lock meanwhile. After an error the batch
// must be sent again. An error of the file is in Sent instead.
func (r *runner) send(ctx context.Context, l *lock, tick time.Time, file io.Reader) (*Sent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { l.renew(ctx, func() { cancel(errLost) }) })
	defer func() {
		cancel(nil)
		renewing.Wait()
	}()
	s := r.schedule
	sent := &Sent{Tick: tick.UTC(), Batch: s.Batch(tick), Who: r.Who}
	refused := func(e *tasks.FieldError) {
		if sent.Refusal == "" {
			sent.Refusal = e.Error()
		}
		if sent.Refused++; sent.Refused > maxNamed {
			return
		}
		bare := *e
		bare.Line = 0 // the log line has it as an attribute
		r.Logger.Error("a line of a schedule's file was refused", "schedule", s.Name, "batch", sent.Batch, "file", s.File, "line", e.Line, "reason", bare.Error())
	}
	in := &errorReader{r: file}
	lines := tasks.ReadCalls(in, tasks.ReadOptions{Rules: r.Rules})
	summary, err := r.Producer.SubmitLines(ctx, sent.Batch, lines, refused)
	sent.Accepted, sent.Duplicate, sent.Refused = summary.Accepted, summary.Duplicate, summary.Refused
	switch {
	case in.err != nil:
		sent.Error = unreadable(s.File, in.err).Error()
	case err != nil:
		return nil, err
	}
	return sent, nil
}

// logSent logs how the sending of a batch ended.
func (r *runner) logSent(sent *Sent) {
	s := r.schedule
	args := []any{
		"schedule", s.Name, "batch", sent.Batch, "accepted", sent.Accepted, "duplicate", sent.Duplicate, "refused", sent.Refused,
	}
	switch {
	case sent.Error != "":
		r.Logger.Error("the file of a schedule could not be sent", append(args, "reason", sent.Error, "by_hand", s.ByHand(sent.Tick))...)
	case sent.Refused > 0:
		r.Logger.Error("the file of a schedule was sent without its refused lines", append(args, "file", s.File, "by_hand", s.ByHand(sent.Tick))...)
	case sent.Accepted+sent.Duplicate == 0:
		r.Logger.Warn("the file of a schedule contains no calls", append(args, "file", s.File)...)
	default:
		r.Logger.Info("the file of a schedule was sent", args...)
	}
}
