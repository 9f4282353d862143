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

// maxNamed is how many refused lines of a file get a log line each; the rest are
// counted.
const maxNamed = 20

// CheckFile says why a file of calls cannot be sent, or returns nil.
func CheckFile(path string) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// open opens a file of calls. Its errors say what to do.
func open(path string) (*os.File, error) {
	// Opening a pipe would wait for who writes to it.
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file; name a file of calls, one JSON object a line", path)
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
	return fmt.Errorf("%s cannot be read: %w; put the file there, readable for the worker", path, err)
}

// reading tells an error of the file from one of Redis.
type reading struct {
	r   io.Reader
	err error
}

// Read reads on.
func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// send sends the batch of a tick while it keeps the lock. An error is one after
// which the batch is to be sent again; that the file broke off is in Sent.
func (k *keeper) send(ctx context.Context, l *lock, tick time.Time, file io.Reader) (*Sent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	var renewing sync.WaitGroup
	renewing.Go(func() { l.keep(ctx, func() { cancel(errLost) }) })
	defer func() {
		cancel(nil)
		renewing.Wait()
	}()
	s := k.schedule
	sent := &Sent{Tick: tick.UTC(), Batch: s.Batch(tick), Who: k.Who}
	refused := func(e *tasks.FieldError) {
		if sent.Refusal == "" {
			sent.Refusal = e.Error()
		}
		if sent.Refused++; sent.Refused > maxNamed {
			return
		}
		bare := *e
		bare.Line = 0 // it stands beside it
		k.Logger.Error("a line of a schedule's file was refused", "schedule", s.Name, "batch", sent.Batch, "file", s.File, "line", e.Line, "reason", bare.Error())
	}
	in := &reading{r: file}
	lines := tasks.ReadCalls(in, tasks.ReadOptions{Rules: k.Rules})
	summary, err := k.Producer.SubmitLines(ctx, sent.Batch, lines, refused)
	sent.Accepted, sent.Duplicate, sent.Refused = summary.Accepted, summary.Duplicate, summary.Refused
	switch {
	case in.err != nil:
		sent.Error = unreadable(s.File, in.err).Error()
	case err != nil:
		return nil, err
	}
	return sent, nil
}

// tell logs how a batch ended.
func (k *keeper) tell(sent *Sent) {
	s := k.schedule
	args := []any{
		"schedule", s.Name, "batch", sent.Batch, "accepted", sent.Accepted, "duplicate", sent.Duplicate, "refused", sent.Refused,
	}
	switch {
	case sent.Error != "":
		k.Logger.Error("the file of a schedule could not be sent", append(args, "reason", sent.Error, "by_hand", s.ByHand(sent.Tick))...)
	case sent.Refused > 0:
		k.Logger.Error("the file of a schedule was sent without its refused lines", append(args, "file", s.File, "by_hand", s.ByHand(sent.Tick))...)
	case sent.Accepted+sent.Duplicate == 0:
		k.Logger.Warn("the file of a schedule holds no calls", append(args, "file", s.File)...)
	default:
		k.Logger.Info("the file of a schedule was sent", args...)
	}
}
