package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// jsonList writes a JSON array one element at a time, for lists of any length.
type jsonList struct {
	w     io.Writer
	begun bool
}

func (l *jsonList) add(element any) error {
	text, err := json.Marshal(element)
	if err != nil {
		return fmt.Errorf("write the list: %w", err)
	}
	open := ",\n"
	if !l.begun {
		open, l.begun = "[", true
	}
	_, err = fmt.Fprintf(l.w, "%s%s", open, text)
	return err
}

func (l *jsonList) end() error {
	if !l.begun {
		_, err := fmt.Fprintln(l.w, "[]")
		return err
	}
	_, err := fmt.Fprintln(l.w, "]")
	return err
}

// batchCounts are the counts of a batch, as --json prints them.
type batchCounts struct {
	Batch     string `json:"batch"`
	Accepted  int64  `json:"accepted"`
	Open      int64  `json:"open"`
	Done      int64  `json:"done"`
	Dead      int64  `json:"dead"`
	Dropped   int64  `json:"dropped"`
	Cancelled int64  `json:"cancelled"`
	// Waits are the reasons why open calls wait. Only batch status has them.
	Waits []waiting.Reason `json:"waits,omitempty"`
}

func countsOf(batch string, c tasks.Counts) batchCounts {
	return batchCounts{Batch: batch, Accepted: c.Accepted, Open: c.Open, Done: c.Done, Dead: c.Dead, Dropped: c.Dropped, Cancelled: c.Cancelled}
}

// status returns the error with the exit status of a command after the calls of a batch
// have ended.
func (b batchCounts) status() error {
	if b.Dead+b.Dropped > 0 {
		return errFailedCalls
	}
	return nil
}

// timeText formats a time for people, with seconds and time zone, "-" for the zero time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.RFC3339)
}

// orDash returns "-" for an empty cell.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
