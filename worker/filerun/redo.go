package filerun

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

// CallRef names a call: by its key, and by its digest too where that is known, as of a
// result.
type CallRef struct{ Key, Digest string }

// ReadCallRefs reads results or keys, one a line; a key is text or JSON. A line that is
// neither is an error with its number.
func ReadCallRefs(from io.Reader) ([]CallRef, error) {
	var list []CallRef
	in := bufio.NewReader(from)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if text := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))); len(text) > 0 {
			one, bad := parseCallRef(text)
			if bad != nil {
				return nil, fmt.Errorf("line %d: %w", n, bad)
			}
			list = append(list, one)
		}
		if err != nil {
			return list, nil
		}
	}
}

func parseCallRef(text []byte) (CallRef, error) {
	switch text[0] {
	case '{':
		var r struct {
			Key    json.RawMessage
			Digest string
		}
		if err := json.Unmarshal(text, &r); err != nil || len(r.Key) == 0 || string(r.Key) == "null" {
			return CallRef{}, errors.New("is not a result; write results or keys, one a line")
		}
		one, err := parseCallRef(r.Key)
		one.Digest = r.Digest
		return one, err
	case '"':
		var key string
		if err := json.Unmarshal(text, &key); err != nil {
			return CallRef{}, errors.New("is not a key; write results or keys, one a line")
		}
		return CallRef{Key: key}, nil
	}
	return CallRef{Key: string(text)}, nil
}

// choose notes which calls are made again. Keys that no call of the input has are an
// [InputError]; out may know which call an earlier version named by its position.
func (p *plan) choose(list []CallRef, input string, out *resultsFile) error {
	unknown := map[string]bool{}
	for _, one := range list {
		if !p.chooseOne(one) {
			unknown[one.Key] = true
		}
	}
	if len(unknown) > 0 && out.file != nil {
		if _, err := out.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
		for r, err := range tasks.ReadResults(out.file) {
			if err == nil && unknown[r.Key] && p.chooseOne(CallRef{r.Key, r.Digest}) {
				delete(unknown, r.Key)
			}
		}
	}
	var named []string
	for _, one := range list {
		if unknown[one.Key] {
			delete(unknown, one.Key)
			named = append(named, fmt.Sprintf("%q", one.Key))
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
	return inputError(ProblemUnknownCalls, "to be made again: no call of %s has the key %s%s", input, strings.Join(named, ", "), more)
}

func (p *plan) chooseOne(one CallRef) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.find(one.Key, one.Digest)
	if ok {
		p.chosen[k] = true
	}
	return ok
}

// isChosen reports whether a call is to be made again whatever its end was.
func (p *plan) isChosen(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.find(key, digest)
	return ok && p.chosen[k]
}

// readReplaced reads when the calls that are to be made again ended in the results
// that were replaced, by their ids.
func (r *runner) readReplaced() (map[string][]time.Time, error) {
	ends := map[string][]time.Time{}
	if len(r.plan.chosen) == 0 || r.out.file == nil {
		return ends, nil
	}
	f, err := os.Open(r.out.replaced())
	if errors.Is(err, fs.ErrNotExist) {
		return ends, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for result, err := range tasks.ReadResults(f) {
		var bad *tasks.FieldError
		var torn *tasks.TornLineError
		switch {
		case errors.As(err, &bad), errors.As(err, &torn):
		case err != nil:
			return nil, err
		case r.plan.isChosen(result.Key, result.Digest):
			ends[result.ID] = append(ends[result.ID], result.FinishedAt)
		}
	}
	return ends, nil
}

// repeats reports whether a call that Redis has as ended is made again. One whose ending
// was replaced is; an ending that came later is the result of having made it again, which
// a run that was killed has not written. An ending that no results file has is kept
// first.
func (r *runner) repeats(record ledger.Record) (bool, error) {
	if !record.State.Ended() || !r.plan.isChosen(record.Key, record.Hash) {
		return false, nil
	}
	for _, at := range r.replaced[record.ID] {
		if at.Equal(record.EndedAt) {
			return true, nil
		}
	}
	if len(r.replaced[record.ID]) > 0 {
		return false, nil
	}
	if r.out.file == nil {
		return true, nil
	}
	line, err := tasks.EncodeResult(nil, r.resultOf(record))
	if err != nil {
		return false, err
	}
	return true, r.out.keepLine(line)
}

// resultOf is the result of an ended call, with what the run knows of it.
func (r *runner) resultOf(record ledger.Record) tasks.Result {
	result := records.Result(record)
	result.BaseURL, result.Line = r.urls[result.Upstream], r.plan.line(record.Key, record.Hash)
	return result
}

// reopen opens an ended call again.
func (r *runner) reopen(ctx context.Context, record ledger.Record) (busy bool, err error) {
	if record.State == ledger.Done {
		_, busy, err = r.back.records.RedriveAny(ctx, record)
	} else {
		_, busy, err = r.back.records.Redrive(ctx, record)
	}
	return busy, err
}
