package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"path/filepath"
	"strconv"
	"strings"
	"unicode"

	"github.com/seed-2903acc3/callq/tasks"
)

// batchOf is the name under which a file is sent.
func (s *sending) batchOf(in *callsFile) (string, error) {
	if s.batch == "" {
		return contentName(in)
	}
	if err := tasks.CheckBatch(s.batch); err != nil {
		return "", misuse("--batch: %w", err)
	}
	return s.batch, nil
}

// contentName makes the name under which a file is sent where none was given: of
// the file's name and of what is in it, so that the same file goes to the same
// batch and a changed one to another.
func contentName(in *callsFile) (string, error) {
	r, err := readFrom(in)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", r.failure()
	}
	name := in.name
	if name == "-" {
		name = "stdin"
	}
	return batchName(name, sum.Sum(nil)), nil
}

// maxBatchStem keeps a batch's name well within what [tasks.CheckBatch] takes, in
// bytes.
const maxBatchStem = 150

// batchName makes a batch's name of a file's path and a digest: the file's name
// without its extension and without what a batch's name must not have, and the
// first 8 hex digits of the digest.
func batchName(path string, digest []byte) string {
	stem := filepath.Base(path)
	stem = strings.TrimSuffix(stem, filepath.Ext(stem))
	stem = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, strings.ToValidUTF8(stem, "-"))
	if len(stem) > maxBatchStem {
		stem = strings.ToValidUTF8(stem[:maxBatchStem], "")
	}
	if stem == "" {
		stem = "calls"
	}
	return stem + "-" + hex.EncodeToString(digest[:4])
}

// reading reads a file of calls and remembers that it could not be read on: that
// is another exit status than what Redis can do.
type reading struct {
	name string
	r    io.Reader
	err  error
}

func readFrom(in *callsFile) (*reading, error) {
	r, err := in.again()
	if err != nil {
		return nil, misuse("%w", err)
	}
	return &reading{name: in.name, r: r}, nil
}

// Read reads on.
func (r *reading) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.err = err
	}
	return n, err
}

// failure is the misuse that the file could not be read, or nil.
func (r *reading) failure() error {
	if r.err == nil {
		return nil
	}
	return misuse("%s: %w", r.name, withoutPath(r.err))
}

// rehearse counts what would become of the lines of a file that is sent for the
// first time.
func rehearse(ctx context.Context, lines iter.Seq2[tasks.Line, error], refused func(*tasks.FieldError)) (tasks.Summary, error) {
	var summary tasks.Summary
	// 64 bits of each hash tell many millions of keys apart and keep the memory small.
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
				Line: line.Number, Field: "key", Problem: fmt.Sprintf("%q stands for a different call of this file already", line.Call.Key),
				Fix: "give each call a key of its own",
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
	n, _ := strconv.ParseUint(hash[:16], 16, 64) // hex digits, always
	return n
}
