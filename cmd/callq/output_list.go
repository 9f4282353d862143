package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/worker/jsonform"
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

// statusOfBatch returns the error with the exit status of a command after the calls of a
// batch have ended.
func statusOfBatch(b jsonform.Batch) error {
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
