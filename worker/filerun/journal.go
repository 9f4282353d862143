package filerun

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"

	"github.com/seed-2903acc3/callq/internal/atomicfile"
	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// journal records in OUT.sent, beside a results file, which non-idempotent calls are in
// flight. Redis records that too, but Redis may be embedded in this process, may have lost
// the record, or may be gone when the run is started again. The next run finds the calls
// without a result, and does not send them again. Its methods are safe for concurrent use.
type journal struct {
	path string // empty if the results go to a stream
	// name returns the key in the plan of a call that an earlier version named by its
	// position.
	name func(key, digest string) string
	// required reports that nothing else has the record: a call that cannot be recorded
	// is not sent.
	required bool

	mu   sync.Mutex
	file *os.File // nil until the first line is written
	// size is the length of the complete lines of the file, in bytes.
	size int64
	// urls are the current base URLs.
	urls baseurl.Set
	// open are the calls that were sent and have no result.
	open map[callID]destination
	// failed is why a call could not be recorded.
	failed error
}

// callID identifies a call, as in results files.
type callID struct {
	Key    string `json:"key"`
	Digest string `json:"digest"`
}

// destination says where a call was sent, if that is known.
type destination struct {
	Upstream string `json:"upstream,omitempty"`
	BaseURL  string `json:"base_url,omitempty"`
	// before reports that a previous run sent it and did not record its end.
	before bool
}

// journalLine is a line of the file: a call is in flight, or, with Back, was returned
// without having been made.
type journalLine struct {
	callID
	destination
	Back bool `json:"back,omitempty"`
}

// readJournal reads the journal of a previous run beside the results file of that name.
// An incomplete last line was being written when the process was killed: its call was not
// sent.
func readJournal(results string, name func(key, digest string) string) (*journal, error) {
	j := &journal{path: results + ".sent", name: name, open: map[callID]destination{}}
	f, err := os.Open(j.path)
	if errors.Is(err, fs.ErrNotExist) {
		return j, nil
	}
	if err != nil {
		return nil, inputError(ProblemJournal, "what was sent before: %w", err)
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		text, err := lines.ReadBytes('\n')
		last := errors.Is(err, io.EOF)
		if err != nil && !last {
			return nil, inputError(ProblemJournal, "what was sent before: %w", err)
		}
		var line journalLine
		err = json.Unmarshal(text, &line)
		bad := err != nil || line.Key == ""
		if last && bad {
			return j, nil
		}
		if bad {
			return nil, inputError(ProblemJournal, "%s: line %d does not say which call was sent; find out which calls without a result the API has seen, and remove the file", j.path, n)
		}
		line.callID = j.call(line.Key, line.Digest)
		if line.Back {
			delete(j.open, line.callID)
		} else {
			line.before = true
			j.open[line.callID] = line.destination
		}
		if last {
			return j, nil
		}
		j.size += int64(len(text))
	}
}

// ended records that the end of a call is known: it is in the results file or in the
// queue.
func (j *journal) ended(key, digest string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.open, j.call(key, digest))
}

func (j *journal) call(key, digest string) callID {
	if j.name != nil {
		key = j.name(key, digest)
	}
	return callID{key, digest}
}

// unfinished returns the calls of previous runs without a result.
func (j *journal) unfinished() (list []callID) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for call, where := range j.open {
		if where.before {
			list = append(list, call)
		}
	}
	return list
}

// Sending records that a call is in flight; see [worker.Journal].
func (j *journal) Sending(c tasks.Call) error {
	call := j.call(c.Key, tasks.ContentHash(c))
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.open[call].before {
		return worker.ErrMaybeSent
	}
	if j.path == "" {
		return nil
	}
	where := destination{Upstream: c.Upstream, BaseURL: j.urls[c.Upstream]}
	switch err := j.note(journalLine{callID: call, destination: where}); {
	case err == nil:
	case j.required:
		j.failed = fmt.Errorf("calls are not sent unless they can be recorded: %w", &StorageError{File: j.path, Err: fileerror.WithoutPath(err)})
		return j.failed
	default:
		return nil // the queue has a record of it
	}
	j.open[call] = where
	return nil
}

// otherBaseURLs returns the base URLs of calls of previous runs that differ from the
// current ones, by upstream.
func (j *journal) otherBaseURLs(now baseurl.Set) map[string]string {
	j.mu.Lock()
	defer j.mu.Unlock()
	made := map[string]string{}
	for _, where := range j.open {
		if where.BaseURL != "" && baseurl.Canonical(where.BaseURL) != now[where.Upstream] {
			made[where.Upstream] = where.BaseURL
		}
	}
	return made
}

// failure returns why calls cannot be sent; nil if they can.
func (j *journal) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failed
}

// Returned records that a call was returned without having been made, if Sending has
// recorded it.
func (j *journal) Returned(c tasks.Call) {
	call := j.call(c.Key, tasks.ContentHash(c))
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, sent := j.open[call]; !sent {
		return
	}
	delete(j.open, call)
	_ = j.note(journalLine{callID: call, Back: true}) // without the line the call counts as sent, which is safe
}

// note appends a line after the last complete one. If only a part of the line could be
// written, as on a full disk, note removes it. It must be called with j.mu held.
func (j *journal) note(line journalLine) (err error) {
	if j.file == nil {
		if j.file, err = os.OpenFile(j.path, os.O_WRONLY|os.O_CREATE, ownerOnly); err != nil {
			return err
		}
		if err := j.file.Truncate(j.size); err != nil {
			return err
		}
	}
	text, err := journalText(line)
	if err != nil {
		return err
	}
	n, err := j.file.WriteAt(text, j.size)
	if err != nil {
		_ = j.file.Truncate(j.size) // the next line overwrites it
		return err
	}
	j.size += int64(n)
	return nil
}

func journalText(line journalLine) ([]byte, error) {
	text, err := json.Marshal(line)
	return append(text, '\n'), err
}

// close closes the journal after all results were written to their file.
func (j *journal) close() (err error) {
	if j.file != nil {
		err = j.file.Close()
		j.file = nil
	}
	return errors.Join(err, j.rewrite())
}

// rewrite replaces the file by one with the open calls only, or removes it if there are
// none. It must be called while nothing is being sent. On a full disk the file is not
// changed: together with the results file it has the same meaning, with more lines.
func (j *journal) rewrite() error {
	if j.path == "" {
		return nil
	}
	if len(j.open) == 0 {
		j.size = 0
		if err := os.Remove(j.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var all []byte
	for call, where := range j.open {
		if now := j.urls[where.Upstream]; where.BaseURL != "" && now != "" {
			where.BaseURL = now // a different one was refused before, or SameAPI is set
		}
		text, err := journalText(journalLine{callID: call, destination: where})
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	err := atomicfile.Write(j.path, all, ownerOnly)
	switch {
	case err == nil:
		j.size = int64(len(all))
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		return nil
	}
	return err
}
