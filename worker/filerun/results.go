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

// resultsFile is the output of a run: a file that can be resumed, or a stream.
type resultsFile struct {
	name string
	// to receives the lines. At most one of file and stream is set: file can be read and
	// resumed; stream is a pipe or a device that was opened here.
	to           io.Writer
	file, stream *os.File
	// size is the length of the complete lines, in bytes.
	size    int64
	pending []byte
	// taken is how many bytes of pending a stream accepted before it failed.
	taken int
}

// ownerOnly is the mode of new files with results or calls, because an answer of an API
// may be confidential. An existing file keeps its mode.
const ownerOnly = 0o600

// flushAt is how many bytes are collected before they are written.
const flushAt = 1 << 20

// openResults opens and locks the results file, or uses writer if name is empty. If
// another run writes to the file, or the file cannot be written, it returns an
// [InputError].
func openResults(name string, writer io.Writer) (*resultsFile, error) {
	if name == "" {
		return &resultsFile{to: writer}, nil
	}
	for path := name; ; {
		if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
			// Open a pipe for writing only: otherwise the pipe would never break when its
			// reader closes it.
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
		// Keep a symbolic link: write and replace its target, which exists by now.
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
		if err := lockFile(f); err != nil {
			return nil, errors.Join(inputError(ProblemOutputInUse, "the results file %s is in use by another callq", name), f.Close())
		}
		// Between open and lock, another run may have replaced the file.
		if now, err := os.Stat(path); err == nil && os.SameFile(info, now) {
			return &resultsFile{name: path, to: f, file: f}, nil
		}
		if err := f.Close(); err != nil {
			return nil, err
		}
	}
}

// checkOutput returns an error if the results would overwrite the calls.
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

// add appends a result. It may be written only by the next flush.
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

// flush writes the added results. After an error the file has complete lines only, the
// unwritten results stay pending, and flush may be called again.
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
		_ = r.file.Truncate(r.size) // if this fails, the next run repairs the line
		_, _ = r.file.Seek(r.size, io.SeekStart)
	} else {
		r.taken += n
	}
	return r.storageError(err)
}

// storageError returns a StorageError for the results.
func (r *resultsFile) storageError(err error) error {
	if fileerror.ReaderClosed(err) {
		err = ErrReaderClosed
	}
	return &StorageError{File: r.name, Err: fileerror.WithoutPath(err)}
}

// isDurable reports whether flushed results are stored in a file. The results in a pipe or
// a terminal may never be read.
func (r *resultsFile) isDurable() bool {
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

// sync flushes the results and syncs the file to disk.
func (r *resultsFile) sync() error {
	if err := r.flush(); err != nil || r.file == nil {
		return err
	}
	if err := r.file.Sync(); err != nil {
		return r.storageError(err)
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
