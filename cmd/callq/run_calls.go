package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/callsfile"
)

// callsFile is a file of calls that can be read more than once.
type callsFile struct {
	file *os.File
	// name is as the user gave it; "-" for what is read from a stream that has no name of its own.
	name string
	// batch is the name of the batch that its calls belong to.
	batch string
	// spooled tells that file is a copy of ours.
	spooled bool
	// packing is how the file is compressed, and unpacked what is being read of it.
	packing  callsfile.Packing
	unpacked io.Closer
}

// streamNames are names of what a process reads from, which look like files to a shell: /dev/stdin, <(…).
var streamNames = regexp.MustCompile(`^/(dev/stdin|dev/fd/[0-9]+|proc/(self|thread-self|[0-9]+)/fd/[0-9]+)$`)

// isStream reports whether a name stands for what can be read only once, or has no place beside it for results. It opens nothing:
// opening a named pipe would wait for who writes to it.
func isStream(name string) bool {
	if name == "-" || streamNames.MatchString(filepath.Clean(name)) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// openCalls opens a file of calls, and a compressed one by its name. What can be read only once, as a pipe, is copied to a
// temporary file first. What cannot be read, or is no file of calls, is misuse.
func (a *app) openCalls(name string) (in *callsFile, err error) {
	switch {
	case name == "-":
		in, err = spoolCalls(a.stdin, "-", "stdin")
	case isStream(name):
		in, err = openStream(name)
	default:
		in, err = openRegular(name)
	}
	if err != nil {
		return nil, err
	}
	if err := in.check(); err != nil {
		return nil, errors.Join(err, in.close())
	}
	return in, nil
}

func openStream(name string) (*callsFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, misuse("%w", err)
	}
	defer f.Close()
	if streamNames.MatchString(filepath.Clean(name)) {
		return spoolCalls(f, "-", "stdin")
	}
	return spoolCalls(f, name, filepath.Base(name))
}

func openRegular(name string) (*callsFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, misuse("%w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = misuse("%s is a directory (a folder); name a file of calls, one JSON object a line", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sum := sha256.Sum256([]byte(path))
	return &callsFile{file: f, name: name, batch: "run-" + batchName(name, sum[:]), packing: callsfile.PackingOf(name)}, nil
}

func spoolCalls(from io.Reader, name, base string) (*callsFile, error) {
	f, err := os.CreateTemp("", "callq-*.jsonl")
	if err != nil {
		return nil, err
	}
	in := &callsFile{file: f, name: name, spooled: true}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), from); err != nil {
		return nil, errors.Join(misuse("%s: %w", name, err), in.close())
	}
	in.batch = "run-" + batchName(base, hash.Sum(nil))
	return in, nil
}

// check refuses a file that is no file of calls, and says what it is.
func (in *callsFile) check() error {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	head, whole, err := callsfile.Head(in.file)
	if err != nil {
		return misuse("%s: %w", in.name, withoutPath(err))
	}
	if in.packing != "" {
		if found := callsfile.Mispacked(in.name, head); found != nil {
			return misuse("%s", found.In(in.name))
		}
		r, err := in.again()
		if err != nil {
			return err
		}
		// What is damaged further on is found by who reads it.
		if head, whole, err = callsfile.Head(r); err != nil && len(bytes.TrimSpace(head)) == 0 {
			return misuse("%s: %w", in.name, withoutPath(err))
		}
	}
	if found := callsfile.Detect(head, whole); found != nil {
		return misuse("%s", found.In(in.name))
	}
	return nil
}

// intact reads a compressed file to its end, so that no call is sent where the rest of them cannot be read.
func (in *callsFile) intact() error {
	if in.packing == "" {
		return nil
	}
	r, err := readFrom(in)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return r.failure()
	}
	return nil
}

// again is the file from its beginning, unpacked. The reader before it must not be used any more.
func (in *callsFile) again() (io.Reader, error) {
	if _, err := in.file.Seek(0, io.SeekStart); err != nil || in.packing == "" {
		return in.file, err
	}
	if err := in.closeUnpacked(); err != nil {
		return nil, err
	}
	r, err := callsfile.Unpack(in.file, in.packing)
	if err != nil {
		return nil, err
	}
	in.unpacked = r
	return r, nil
}

func (in *callsFile) closeUnpacked() error {
	if in.unpacked == nil {
		return nil
	}
	err := in.unpacked.Close()
	in.unpacked = nil
	return err
}

func (in *callsFile) close() error {
	err := errors.Join(in.closeUnpacked(), in.file.Close())
	if in.spooled {
		err = errors.Join(err, os.Remove(in.file.Name()))
	}
	return err
}
