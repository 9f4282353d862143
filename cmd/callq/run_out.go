package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-2903acc3/callq/tasks"
)

// resultsFile is where results go: a file that grows and is resumed, or a stream
// that can only be written to.
type resultsFile struct {
	name string
	// to is where lines go; file is nil for a stream.
	to   io.Writer
	file *os.File
	// size is the length of what is whole, in bytes.
	size    int64
	pending []byte
	// taken is how much of pending a stream has had before it failed.
	taken int
}

// ownerOnly is the mode of new files that hold results or calls: what an API said may
// be nobody else's business. A file that is there keeps its mode.
const ownerOnly = 0o600

// flushAt is how many bytes are put together before they are written.
const flushAt = 1 << 20

// openResults opens the results file for one run at a time. "-" is stdout. A file
// that another run writes to, or that cannot be written, is misuse.
func (a *app) openResults(name string) (*resultsFile, error) {
	if name == "-" {
		return &resultsFile{name: "standard output", to: beneath(a.stdout)}, nil
	}
	for path := name; ; {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			// Who holds both ends of a pipe is never told that its reader has left.
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return nil, misuse("the results file: %w", unwritable(err))
			}
			return &resultsFile{name: name, to: f}, nil
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, ownerOnly)
		if err != nil {
			return nil, misuse("the results file: %w", unwritable(err))
		}
		info, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		// A link stays one: what it points at, which is there by now, is written, and
		// replaced.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		if err := lockFile(f); err != nil {
			return nil, errors.Join(misuse("the results file %s is in use by another callq; wait for it, or choose another with -o", name), f.Close())
		}
		// Between opening and locking, another run may have put a new file in its
		// place.
		if now, err := os.Stat(path); err == nil && os.SameFile(info, now) {
			return &resultsFile{name: path, to: f, file: f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// earlier is what a results file of earlier runs holds of the calls of a plan.
type earlier struct {
	// results are all that it holds, ours those of calls of the plan.
	results, ours int
	// gone are the ordinals of the lines that are to be replaced.
	gone []int
	// torn is the last line where it has no end.
	torn *tasks.TornLineError
	// apis are the base_urls of ours, by upstream; nowhere are the upstreams of those
	// that do not say one.
	apis    map[string]map[string]bool
	nowhere map[string]bool
}

func (e *earlier) noteAPI(r tasks.Result) {
	switch {
	case r.BaseURL == "":
		e.nowhere[r.Upstream] = true
	case e.apis[r.Upstream] == nil:
		e.apis[r.Upstream] = map[string]bool{r.BaseURL: true}
	default:
		e.apis[r.Upstream][r.BaseURL] = true
	}
}

// read reads what an earlier run left: known sees the result of every call that is
// finished. It leaves the file as it is. The plan knows what has ended when it
// returns.
func (r *resultsFile) read(p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*earlier, error) {
	if r.file == nil {
		return &earlier{}, nil
	}
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	e, err := recallLines(r.name, r.file, p, redo, known)
	if err != nil || e.torn == nil {
		return e, err
	}
	if err := checkTorn(r.file, e.torn); err != nil {
		return nil, fmt.Errorf("%s: %w", r.name, err)
	}
	return e, nil
}

// resume makes the file one that this run can go on with. A half-written last line
// is cut off; the results of calls that are made anew are moved to the file of
// replaced ones, in one step, and with now the others get the base_urls of now.
func (r *resultsFile) resume(e *earlier, now apis) error {
	if r.file == nil {
		return nil
	}
	if e.torn != nil {
		if err := r.repair(e.torn); err != nil {
			return fmt.Errorf("repair the last line of %s: %w", r.name, err)
		}
	}
	if len(e.gone) > 0 || len(e.madeWith(now)) > 0 && now != nil {
		if err := r.replace(e.gone, now); err != nil {
			return fmt.Errorf("move %s that are replaced from %s to %s: %w", plural(len(e.gone), "result"), r.name, r.replaced(), err)
		}
	}
	end, err := r.file.Seek(0, io.SeekEnd)
	r.size = end
	return err
}

// recallLines takes the lines of an earlier results file into account: known sees
// the result of every call that is finished.
func recallLines(name string, from io.Reader, p *plan, redo func(tasks.Result) bool, known func(tasks.Result)) (*earlier, error) {
	e := &earlier{apis: map[string]map[string]bool{}, nowhere: map[string]bool{}}
	for result, err := range tasks.ReadResults(from) {
		var bad *tasks.FieldError
		switch {
		case errors.As(err, &e.torn):
			continue
		case errors.As(err, &bad):
			return nil, misuse("%s: line %d is no result, so this does not look like a results file; choose another with -o, or take the line out", name, bad.Line)
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		e.results++
		verdict := p.recall(result, redo)
		if verdict != foreign {
			e.ours++
			e.noteAPI(result)
		}
		switch verdict {
		case finished:
			known(result)
		case outdated:
			e.gone = append(e.gone, e.results)
		}
	}
	return e, nil
}

// repair mends the end of the file, so that lines can follow.
func (r *resultsFile) repair(torn *tasks.TornLineError) error {
	if torn.NeedsNewline {
		if err := r.file.Truncate(torn.Offset); err != nil {
			return err
		}
		_, err := r.file.WriteAt([]byte("\n"), torn.Offset)
		return err
	}
	return r.file.Truncate(torn.Offset)
}

// checkTorn refuses a last line that is not the beginning of a result: a text that
// is none of ours must not be cut off.
func checkTorn(file io.ReaderAt, torn *tasks.TornLineError) error {
	if torn.NeedsNewline {
		return nil
	}
	begin := []byte(`{"key":"`)
	head := make([]byte, len(begin))
	n, err := file.ReadAt(head, torn.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.HasPrefix(begin, head[:n]) {
		return misuse("line %d is no result, so this does not look like a results file; choose another with -o", torn.Line)
	}
	return nil
}

// add puts a result at the end. It is in the file at the latest after flush.
func (r *resultsFile) add(result tasks.Result) error {
	var err error
	if r.pending, err = tasks.EncodeResult(r.pending, result); err != nil {
		return err
	}
	if len(r.pending) >= flushAt {
		return r.flush()
	}
	return nil
}

// flush writes what was added. After an error the file holds whole lines alone, and
// what was added is still pending: flush may be called again.
func (r *resultsFile) flush() error {
	if len(r.pending) == 0 {
		return nil
	}
	n, err := r.to.Write(r.pending[r.taken:])
	if err == nil {
		r.size += int64(n)
		r.pending, r.taken = r.pending[:0], 0
		return nil
	}
	if r.file != nil {
		whole := bytes.LastIndexByte(r.pending[:n], '\n') + 1
		r.size += int64(whole)
		r.pending = r.pending[whole:]
		_ = r.file.Truncate(r.size) // where this fails the next run repairs the line
		_, _ = r.file.Seek(r.size, io.SeekStart)
	} else {
		r.taken += n
	}
	return r.unwritten(err)
}

// unwritten says what kept results from being written, and what to do about it.
func (r *resultsFile) unwritten(err error) error {
	if readerLeft(err) {
		return fmt.Errorf("the reader of %s left before it had all results", r.name)
	}
	return unstored(r.name, err)
}

// kept reports whether what was flushed is stored for certain. What goes through a
// pipe or to a terminal may be read by nobody.
func (r *resultsFile) kept() bool {
	if r.file != nil {
		return true
	}
	f, ok := r.to.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// sync makes what was added survive a crash of the machine.
func (r *resultsFile) sync() error {
	if err := r.flush(); err != nil || r.file == nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return r.unwritten(err)
	}
	return nil
}

func (r *resultsFile) close() error {
	if c, ok := r.to.(*os.File); ok && r.name != "standard output" {
		return c.Close()
	}
	return nil
}

// withoutPath keeps the path out of a message that names it already.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
