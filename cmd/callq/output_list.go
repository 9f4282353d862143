package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/waiting"
)

// jsonList writes a JSON array an element at a time, for lists of any length.
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

// books are those of a batch, as --json prints them everywhere.
type batchCounts struct {
	Batch     string `json:"batch"`
	Accepted  int64  `json:"accepted"`
	Open      int64  `json:"open"`
	Done      int64  `json:"done"`
	Dead      int64  `json:"dead"`
	Dropped   int64  `json:"dropped"`
	Cancelled int64  `json:"cancelled"`
	// Waits are the reasons for which open calls wait; only batch status has them.
	Waits []waiting.Reason `json:"waits,omitempty"`
}

func booksOf(batch string, c tasks.Counts) batchCounts {
	return batchCounts{Batch: batch, Accepted: c.Accepted, Open: c.Open, Done: c.Done, Dead: c.Dead, Dropped: c.Dropped, Cancelled: c.Cancelled}
}

// losses is the status of a command that has seen the calls of a batch end.
func (b batchCounts) losses() error {
	if b.Dead+b.Dropped > 0 {
		return errFailedCalls
	}
	return nil
}

// timeText is a time for people, to the second and with its zone; "-" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format(time.RFC3339)
}

// orDash makes an empty cell visible.
func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
