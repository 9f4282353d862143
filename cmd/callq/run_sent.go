package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
)

// sentFile notes beside a results file which calls that must not be made twice are
// on their way, where Redis ends with the process and cannot remember it. The next
// run finds those that have no result, and does not send them again. Its methods
// are safe for concurrent use.
type sentFile struct {
	path string // empty where the results go to a stream
	// keep tells that what is sent now is to be noted.
	keep bool

	mu   sync.Mutex
	file *os.File // nil until there is something to note
	open map[string]sentCall
}

// sentCall is a call that was sent and has no result.
type sentCall struct {
	digest string
	// earlier tells that it was in an earlier run, which has died.
	earlier bool
}

// sentLine is a line of the file: a call is on its way, or has come back.
type sentLine struct {
	Key    string `json:"key"`
	Digest string `json:"digest"`
	Back   bool   `json:"back,omitempty"`
}

// readSent reads what an earlier run has noted beside the results file. A line that
// is cut off was being written when the process died: its call was not sent.
func readSent(out *resultsFile) (*sentFile, error) {
	s := &sentFile{open: map[string]sentCall{}}
	if out.file == nil {
		return s, nil
	}
	s.path = out.name + ".sent"
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, misuse("what was sent before: %w", err)
	}
	defer f.Close()
	var bad error
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if bad != nil {
			return nil, bad
		}
		var line sentLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil || line.Key == "" {
			bad = misuse("%s: line %d does not say which call was sent; find out which calls without a result the API has seen, and remove the file", s.path, n)
			continue
		}
		if line.Back {
			delete(s.open, line.Key)
		} else {
			s.open[line.Key] = sentCall{line.Digest, true}
		}
	}
	return s, lines.Err()
}

// ended notes that the results file has the end of a call.
func (s *sentFile) ended(key, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[key].digest == digest {
		delete(s.open, key)
	}
}

// begin begins a run, once it is known which calls have results.
func (s *sentFile) begin(keep bool) error {
	s.keep = keep
	return s.rewrite()
}

// send is the worker's question before it sends a call that must not be made twice.
func (s *sentFile) send(c tasks.Call) (back func(), err error) {
	line := sentLine{Key: c.Key, Digest: tasks.ContentHash(c)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if was := s.open[line.Key]; was.earlier && was.digest == line.Digest {
		return nil, worker.ErrMaybeSent
	}
	if !s.keep || s.path == "" {
		return nil, nil
	}
	if err := s.note(line); err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", s.path, withoutPath(err))
	}
	s.open[line.Key] = sentCall{digest: line.Digest}
	return func() { s.cameBack(line) }, nil
}

func (s *sentFile) cameBack(line sentLine) {
	line.Back = true
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, line.Key)
	_ = s.note(line) // a call without the line counts as sent, which is safe
}

// note adds a line. s.mu is held.
func (s *sentFile) note(line sentLine) (err error) {
	if s.file == nil {
		if s.file, err = os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600); err != nil {
			return err
		}
	}
	return writeSent(s.file, line)
}

func writeSent(f *os.File, line sentLine) error {
	text, err := json.Marshal(line)
	if err != nil {
		return err
	}
	_, err = f.Write(append(text, '\n'))
	return err
}

// close ends a run whose results are in their file.
func (s *sentFile) close() (err error) {
	if s.file != nil {
		err = s.file.Close()
		s.file = nil
	}
	return errors.Join(err, s.rewrite())
}

// rewrite leaves in the file what is open, and removes it where nothing is.
func (s *sentFile) rewrite() error {
	if s.path == "" {
		return nil
	}
	if len(s.open) == 0 {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	fresh, err := os.CreateTemp(filepath.Dir(s.path), ".callq-*")
	if err != nil {
		return err
	}
	for key, call := range s.open {
		if err == nil {
			err = writeSent(fresh, sentLine{Key: key, Digest: call.digest})
		}
	}
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), s.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}
