package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strconv"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// batchOf returns the name of the batch of a file.
func (s *sending) batchOf(in *filerun.Input) (string, error) {
	if s.batch == "" {
		return in.ContentName()
	}
	if err := tasks.CheckBatch(s.batch); err != nil {
		return "", usageError("--batch: %w", err)
	}
	return s.batch, nil
}

// inputError returns the error of the file within err, or err if there is none.
func inputError(err error) error {
	if input := (*filerun.InputError)(nil); errors.As(err, &input) {
		return input
	}
	return err
}

// countDryRun counts what would happen to the lines of a file that is sent for the first
// time.
func countDryRun(ctx context.Context, lines iter.Seq2[tasks.Line, error], refused func(*tasks.FieldError)) (tasks.Summary, error) {
	var summary tasks.Summary
	// 64 bits of each hash distinguish many millions of keys and need little memory.
	seen := map[uint64]uint64{}
	for line, err := range lines {
		if ctx.Err() != nil {
			return summary, ctx.Err()
		}
		var bad *tasks.FieldError
		if err == nil {
			key, content := hash64(tasks.TaskID("", line.Call.Key)), hash64(tasks.ContentHash(line.Call))
			before, again := seen[key]
			switch {
			case !again:
				seen[key] = content
				summary.Accepted++
				continue
			case before == content:
				summary.Duplicate++
				continue
			}
			bad = &tasks.FieldError{
				Line: line.Number, Field: "key", Problem: fmt.Sprintf("%q is the key of a different call of this file already", line.Call.Key),
				Fix: "give each call its own key",
			}
		} else if !errors.As(err, &bad) {
			return summary, err
		}
		summary.Refused++
		if len(summary.Errors) < 1000 {
			summary.Errors = append(summary.Errors, bad)
		}
		refused(bad)
	}
	return summary, nil
}

func hash64(hash string) uint64 {
	n, _ := strconv.ParseUint(hash[:16], 16, 64) // a hash always has hexadecimal digits
	return n
}
