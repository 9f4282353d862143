package filerun

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/tasks"
)

// resultsFile is where results go: a file that grows and is resumed, or a stream
// that can only be written to.
type resultsFile struct {
	name string
	// to is where lines go. One of file, which can be read and resumed, and stream, a
	// pipe or a device that was opened here, may be set.
	to           io.Writer
	file, stream *os.File
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

// openResults opens the results file for one run at a time, or takes a writer where
// there is no name. A file that another run writes to, or that cannot be written, is an
// [InputError].
func openResults(name string, writer io.Writer) (*resultsFile, error) {
	if name == "" {
		return &resultsFile{to: writer}, nil
	}
	for path := name; ; {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			// Who holds both ends of a pipe is never told that its reader has left.
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return nil, inputError(ProblemOutput, "the results file: %w", err)
			}
			return &resultsFile{name: name, to: f, stream: f}, nil
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, ownerOnly)
		if err != nil {
			return nil, inputError(ProblemOutput, "the results file: %w", err)
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
			return nil, errors.Join(inputError(ProblemOutputInUse, "the results file %s is in use by another callq", name), f.Close())
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

// checkOutput refuses results that would overwrite the calls.
func checkOutput(in *Input, out string) error {
	if out == "" || in.spooled || in.file == nil {
		return nil
	}
	calls, err := in.file.Stat()
	if err != nil {
		return err
	}
	if results, err := os.Stat(out); err == nil && os.SameFile(calls, results) {
		return inputError(ProblemOutputCalls, "%s holds the calls", out)
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

// unwritten says what kept results from being written.
func (r *resultsFile) unwritten(err error) error {
	if fileerror.ReaderLeft(err) {
		err = ErrReaderLeft
	}
	return &StorageError{File: r.name, Err: fileerror.WithoutPath(err)}
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
	for _, f := range []*os.File{r.file, r.stream} {
		if f != nil {
			return f.Close()
		}
	}
	return nil
}
