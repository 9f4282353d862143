package main

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// callsFile is a file of calls that can be read more than once.
type callsFile struct {
	file *os.File
	// name is as the user gave it.
	name string
	// batch is the name of the batch that its calls belong to.
	batch string
	// spooled tells that file is a copy of ours.
	spooled bool
}

// openCalls opens a file of calls. What can be read only once, as a pipe, is
// copied to a temporary file first. What cannot be read is misuse.
func (a *app) openCalls(name string) (in *callsFile, err error) {
	if name == "-" {
		return spool(a.stdin, name, "stdin")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, misuse("%w", err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = misuse("%s is a folder; name a file of calls, one JSON object a line", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		defer f.Close()
		return spool(f, name, filepath.Base(name))
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sum := sha256.Sum256([]byte(path))
	return &callsFile{file: f, name: name, batch: "run-" + batchName(name, sum[:])}, nil
}

func spool(from io.Reader, name, base string) (*callsFile, error) {
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

// again is the file from its beginning.
func (in *callsFile) again() (io.Reader, error) {
	_, err := in.file.Seek(0, io.SeekStart)
	return in.file, err
}

func (in *callsFile) close() error {
	err := in.file.Close()
	if in.spooled {
		err = errors.Join(err, os.Remove(in.file.Name()))
	}
	return err
}
