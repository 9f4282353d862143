// Package atomicfile replaces files atomically: a reader, and the machine after a crash,
// finds either the old content or the new content, never a part of either.
//
//	err := atomicfile.Write("calls.sent", text, 0o600)
package atomicfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/seed-2903acc3/callq/internal/fileerror"
)

// File is new content for a file. It is written to a temporary file in the same folder
// until Commit or Discard is called.
type File struct {
	*os.File
	path string
}

// Create begins to replace the file path. The new file will have the mode perm.
func Create(path string, perm os.FileMode) (*File, error) {
	temporary, err := os.CreateTemp(filepath.Dir(path), ".callq-*")
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fileerror.WithoutPath(err)}
	}
	f := &File{temporary, path}
	if err := f.Chmod(perm); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// Commit replaces the file. The content is on the disk before the file has its name. After
// an error, the file is unchanged. Call [SyncDir] to make the replacement itself durable.
func (f *File) Commit() error {
	err := errors.Join(f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// Discard removes the new content. The file is unchanged.
func (f *File) Discard() {
	_ = f.Close() // the content is not needed
	_ = os.Remove(f.Name())
}

// Write replaces the file path by one with the content, as [Create] and [File.Commit] do.
func Write(path string, content []byte, perm os.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		f.Discard()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	_ = SyncDir(filepath.Dir(path)) // some file systems cannot; then the rename is as durable as they make it
	return nil
}

// SyncDir makes the renames in a directory survive a crash of the machine.
func SyncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
