package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

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
	// size is the length of the file's whole lines, in bytes.
	size int64
	// apis are the base_urls of now.
	apis apis
	// open are the calls that were sent and have no result.
	open map[sentCall]sentWhere
	// failed is why a call could not be noted.
	failed error
}

// sentCall is a call as results files know it.
type sentCall struct {
	Key    string `json:"key"`
	Digest string `json:"digest"`
}

// sentWhere says where a call was sent, if that is known.
type sentWhere struct {
	Upstream string `json:"upstream,omitempty"`
	BaseURL  string `json:"base_url,omitempty"`
	// before tells that an earlier run sent it, which has died.
	before bool
}

// sentLine is a line of the file: a call is on its way, or has come back.
type sentLine struct {
	sentCall
	sentWhere
	Back bool `json:"back,omitempty"`
}

// readSent reads what an earlier run has noted beside the results file of that name,
// which is no stream. A line that is cut off was being written when the process
// died: its call was not sent.
func readSent(results string, name func(key, digest string) string) (*sentFile, error) {
	s := &sentFile{path: results + ".sent", name: name, open: map[sentCall]sentWhere{}}
	f, err := os.Open(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, misuse("what was sent before: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return nil, misuse("what was sent before: %w", err)
		}
		var line sentLine
		err = json.Unmarshal(text, &line)
		bad := err != nil || line.Key == ""
		if last && bad {
			return s, nil
		}
		if bad {
			return nil, misuse("%s: line %d does not say which call was sent; find out which calls without a result the API has seen, and remove the file", s.path, n)
		}
		line.sentCall = s.call(line.Key, line.Digest)
		if line.Back {
			delete(s.open, line.sentCall)
		} else {
			line.before = true
			s.open[line.sentCall] = line.sentWhere
		}
		if last {
			return s, nil
		}
		s.size += int64(len(text))
	}
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
	for call, where := range s.open {
		if where.before {
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
	if s.open[call].before {
		return nil, worker.ErrMaybeSent
	}
	if s.path == "" {
		return nil, nil
	}
	where := sentWhere{Upstream: c.Upstream, BaseURL: s.apis[c.Upstream]}
	switch err := s.note(sentLine{sentCall: call, sentWhere: where}); {
	case err == nil:
	case s.must:
		s.failed = fmt.Errorf("no call is sent that could not be remembered: %w", unstored(s.path, err))
		return nil, s.failed
	default:
		return nil, nil // the queue remembers it
	}
	s.open[call] = where
	return func() { s.cameBack(call) }, nil
}

// madeWith are those base_urls of calls of earlier runs that differ from the ones of
// now.
func (s *sentFile) madeWith(now apis) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	made := map[string]string{}
	for _, where := range s.open {
		if where.BaseURL != "" && oneSpelling(where.BaseURL) != now[where.Upstream] {
			made[where.Upstream] = where.BaseURL
		}
	}
	return made
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
	_ = s.note(sentLine{sentCall: call, Back: true}) // a call without the line counts as sent, which is safe
}

// note adds a line, after the last whole one: of a line that did not go in whole,
// as with a full disk, nothing stays. s.mu is held.
func (s *sentFile) note(line sentLine) (err error) {
	if s.file == nil {
		if s.file, err = os.OpenFile(s.path, os.O_WRONLY|os.O_CREATE, ownerOnly); err != nil {
			return err
		}
		if err := s.file.Truncate(s.size); err != nil {
			return err
		}
	}
	text, err := sentText(line)
	if err != nil {
		return err
	}
	n, err := s.file.WriteAt(text, s.size)
	if err != nil {
		_ = s.file.Truncate(s.size) // the next line overwrites it
		return err
	}
	s.size += int64(n)
	return nil
}

func sentText(line sentLine) ([]byte, error) {
	text, err := json.Marshal(line)
	return append(text, '\n'), err
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
// for when nothing is being sent. On a disk that is full the file stays as it is: it
// says the same in more lines, as far as the results file does not say more.
func (s *sentFile) rewrite() error {
	if s.path == "" {
		return nil
	}
	if len(s.open) == 0 {
		s.size = 0
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var all []byte
	for call, where := range s.open {
		if now := s.apis[where.Upstream]; where.BaseURL != "" && now != "" {
			where.BaseURL = now // another one was refused, or is said to be the same
		}
		text, err := sentText(sentLine{sentCall: call, sentWhere: where})
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	err := replaceFile(s.path, all)
	switch {
	case err == nil:
		s.size = int64(len(all))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return nil
	}
	return err
}

// replaceFile puts a file in the place of another, or leaves that as it is.
func replaceFile(path string, content []byte) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".callq-*")
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
	}
	return nil
}
