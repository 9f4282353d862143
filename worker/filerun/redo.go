package filerun

import (
	"bufio"
	"bytes"
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

// CallRef names a call by its key, and also by its digest if that is known, as from a
// result.
type CallRef struct{ Key, Digest string }

// ReadCallRefs reads results or keys, one per line. A key is plain text or a JSON string.
// For any other line it returns an error with the line number.
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
				return nil, fmt.Errorf("line %d %w", n, bad)
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

// choose records which calls are made again. A key that is not in the input is an
// [InputError], unless it is the key that an earlier version gave to a call by its position
// and out has a result with it.
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
	return inputError(ProblemUnknownCalls, "no call of %s has the key %s%s", input, strings.Join(named, ", "), more)
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

// isChosen reports whether a call is made again in any state.
func (p *plan) isChosen(key, digest string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	k, _, ok := p.find(key, digest)
	return ok && p.chosen[k]
}

// readReplaced returns, by id, when the calls to make again ended according to the
// replaced results.
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

// mustRepeat reports whether an ended call in Redis must be made again. It must if its
// result was replaced. If Redis has a later end, a previous run made the call again and was
// killed before it wrote the result; then the call is not made again. If no results file
// has the result, mustRepeat saves it with the replaced results first.
func (r *runner) mustRepeat(record ledger.Record) (bool, error) {
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
	return true, r.out.saveReplacedLine(line)
}

// resultOf returns the result of an ended call, with its base URL and line number.
func (r *runner) resultOf(record ledger.Record) tasks.Result {
	result := records.Result(record)
	result.BaseURL, result.Line = r.urls[result.Upstream], r.plan.line(record.Key, record.Hash)
	return result
}
