package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

// chosenCall names a call that is to be made again, whatever its end was.
type chosenCall struct{ key, digest string }

// chosenCalls are the calls that --redo-keys and --redo-from name.
func (a *app) chosenCalls(file string, f runFlags) ([]chosenCall, error) {
	var list []chosenCall
	for _, key := range f.redoKeys {
		if key = strings.TrimSpace(key); key != "" {
			list = append(list, chosenCall{key: key})
		}
	}
	if f.redoFrom == "" {
		return list, nil
	}
	if f.redoFrom == "-" {
		if file == "-" {
			return nil, misuse("--redo-from -: FILE is standard input already; name a file for one of them")
		}
		return readChosen(list, "standard input", a.stdin)
	}
	in, err := os.Open(f.redoFrom)
	if err != nil {
		return nil, misuse("--redo-from: %w", err)
	}
	defer in.Close()
	return readChosen(list, f.redoFrom, in)
}

// readChosen reads results, or keys, one a line, as text or as JSON.
func readChosen(list []chosenCall, name string, from io.Reader) ([]chosenCall, error) {
	in := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, misuse("--redo-from %s: %w", name, withoutPath(err))
		}
		if text := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))); len(text) > 0 {
			one, bad := chosenOf(text)
			if bad != nil {
				return nil, misuse("--redo-from %s: line %d: %w", name, n, bad)
			}
			list = append(list, one)
		}
		if err != nil {
			return list, nil
		}
	}
}

func chosenOf(text []byte) (chosenCall, error) {
	switch text[0] {
	case '{':
		var r struct {
			Key    json.RawMessage
			Digest string
		}
		if err := json.Unmarshal(text, &r); err != nil || len(r.Key) == 0 || string(r.Key) == "null" {
			return chosenCall{}, errors.New("is no result; write results or keys, one a line")
		}
		one, err := chosenOf(r.Key)
		one.digest = r.Digest
		return one, err
	case '"':
		var key string
		if err := json.Unmarshal(text, &key); err != nil {
			return chosenCall{}, errors.New("is no key; write results or keys, one a line")
		}
		return chosenCall{key: key}, nil
	}
	return chosenCall{key: string(text)}, nil
}

// choose notes which calls are to be made again. Keys that no call of the file has
// are misuse; out may know which call an earlier version named by its position.
func (p *plan) choose(list []chosenCall, file string, out *resultsFile) error {
	unknown := map[string]bool{}
	for _, one := range list {
		if !p.chooseOne(one) {
			unknown[one.key] = true
		}
	}
	if len(unknown) > 0 && out.file != nil {
		if _, err := out.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		for r, err := range tasks.ReadResults(out.file) {
			if err == nil && unknown[r.Key] && p.chooseOne(chosenCall{r.Key, r.Digest}) {
				delete(unknown, r.Key)
			}
		}
	}
	var named []string
	for _, one := range list {
		if unknown[one.key] {
			delete(unknown, one.key)
			named = append(named, fmt.Sprintf("%q", one.key))
		}
	}
	if len(named) == 0 {
		return nil
	}
	const most = 10
	more := ""
	if n := len(named) - most; n > 0 {
		named, more = named[:most], fmt.Sprintf(" and %d more", n)
	}
	return misuse("to be made again: no call of %s has the key %s%s; take it out of --redo-keys or --redo-from, or put its line into the file", file, strings.Join(named, ", "), more)
}

func (p *plan) chooseOne(one chosenCall) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.find(one.key, one.digest)
	if ok {
		p.chosen[k] = true
	}
	return ok
}

// isChosen tells whether a call is to be made again whatever its end was.
func (p *plan) isChosen(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.find(key, digest)
	return ok && p.chosen[k]
}

// readReplaced reads when the calls that are to be made again ended in the results
// that were replaced, by their ids.
func (s *session) readReplaced() (map[string][]time.Time, error) {
	ends := map[string][]time.Time{}
	if len(s.plan.chosen) == 0 || s.out.file == nil {
		return ends, nil
	}
	f, err := os.Open(s.out.replaced())
	if errors.Is(err, fs.ErrNotExist) {
		return ends, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r, err := range tasks.ReadResults(f) {
		var bad *tasks.FieldError
		var torn *tasks.TornLineError
		switch {
		case errors.As(err, &bad), errors.As(err, &torn):
		case err != nil:
			return nil, err
		case s.plan.isChosen(r.Key, r.Digest):
			ends[r.ID] = append(ends[r.ID], r.FinishedAt)
		}
	}
	return ends, nil
}

// again tells whether a call that the queue knows to have ended is to be made again.
// An ending that was replaced is; one that came later is the result of having made
// it again, which a run that was killed has not written. An ending that no results
// file has seen is kept first.
func (s *session) again(r ledger.Record) (bool, error) {
	if !r.State.Ended() || !s.plan.isChosen(r.Key, r.Hash) {
		return false, nil
	}
	for _, at := range s.replaced[r.ID] {
		if at.Equal(r.EndedAt) {
			return true, nil
		}
	}
	if len(s.replaced[r.ID]) > 0 {
		return false, nil
	}
	if s.out.file == nil {
		return true, nil
	}
	result := records.Result(r)
	result.BaseURL, result.Line = s.apis[result.Upstream], s.plan.line(r.Key, r.Hash)
	line, err := tasks.EncodeResult(nil, result)
	if err != nil {
		return false, err
	}
	return true, s.out.keepLine(line)
}

// makeAgain opens an ended call again.
func (s *session) makeAgain(ctx context.Context, r ledger.Record) (redriven, busy bool, err error) {
	if r.State == ledger.Done {
		return s.desk.records.Again(ctx, r)
	}
	return s.desk.records.Redrive(ctx, r)
}
