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
// on their way. The queue remembers that too; but it may be one in the process, or
// have lost it, or not be there any more when the run is begun again. The next run
// finds those that have no result, and does not send them again. Its methods are
// safe for concurrent use.
type sentFile struct {
	path string // empty where the results go to a stream
	// name is how the plan calls a call that an earlier version named by its
	// position.
	name func(key, digest string) string
	// must tells that nothing else remembers: what cannot be noted is not sent.
	must bool

	mu   sync.Mutex
	file *os.File // nil until there is something to note
	// open are the calls that were sent and have no result; true where that was in
	// an earlier run, which has died.
	open map[sentCall]bool
	// failed is why a call could not be noted.
	failed error
}

// sentCall is a call as results files know it.
type sentCall struct {
	Key    string `json:"key"`
	Digest string `json:"digest"`
}

// sentLine is a line of the file: a call is on its way, or has come back.
type sentLine struct {
	sentCall
	Back bool `json:"back,omitempty"`
}

// readSent reads what an earlier run has noted beside the results file of that name,
// which is no stream. A line that is cut off was being written when the process
// died: its call was not sent.
func readSent(results string, name func(key, digest string) string) (*sentFile, error) {
	s := &sentFile{path: results + ".sent", name: name, open: map[sentCall]bool{}}
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
		line.sentCall = s.call(line.Key, line.Digest)
		if line.Back {
			delete(s.open, line.sentCall)
		} else {
			s.open[line.sentCall] = true
		}
	}
	return s, lines.Err()
}

// ended notes that the end of a call is known: it is in the results file, or in the
// queue.
func (s *sentFile) ended(key, digest string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, s.call(key, digest))
}

func (s *sentFile) call(key, digest string) sentCall {
	if s.name != nil {
		key = s.name(key, digest)
	}
	return sentCall{key, digest}
}

// earlier are the calls of earlier runs that have no result.
func (s *sentFile) earlier() (list []sentCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for call, before := range s.open {
		if before {
			list = append(list, call)
		}
	}
	return list
}

// send is the worker's question before it sends a call that must not be made twice.
func (s *sentFile) send(c tasks.Call) (back func(), err error) {
	call := s.call(c.Key, tasks.ContentHash(c))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[call] {
		return nil, worker.ErrMaybeSent
	}
	if s.path == "" {
		return nil, nil
	}
	switch err := s.note(sentLine{sentCall: call}); {
	case err == nil:
	case s.must:
		s.failed = fmt.Errorf("cannot write %s: %w; no call is sent that could not be remembered: make room and run the same command again", s.path, withoutPath(err))
		return nil, s.failed
	default:
		return nil, nil // the queue remembers it
	}
	s.open[call] = false
	return func() { s.cameBack(call) }, nil
}

// trouble is why calls cannot be sent, if they cannot.
func (s *sentFile) trouble() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func (s *sentFile) cameBack(call sentCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, call)
	_ = s.note(sentLine{call, true}) // a call without the line counts as sent, which is safe
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

// rewrite leaves in the file what is open, and removes it where nothing is. It is
// for when nothing is being sent.
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
	for call := range s.open {
		if err == nil {
			err = writeSent(fresh, sentLine{sentCall: call})
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
