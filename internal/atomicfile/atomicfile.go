// Package atomicfile replaces files atomically: a reader, and the machine after a crash,
// finds either the old content or the new content, never a part of either.
//
//	err := atomicfile.Write("calls.sent", text, 0o600)
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces the file path by one with the content. The content is on the disk before
// the file has its name. After an error, path is unchanged.
func Write(path string, content []byte, perm os.FileMode) error {
	fresh, err := os.CreateTemp(filepath.Dir(path), ".callq-*")
	if err != nil {
		return err
	}
	_, err = fresh.Write(content)
	if err == nil {
		err = fresh.Chmod(perm)
	}
	if err == nil {
		err = fresh.Sync()
	}
	if err = errors.Join(err, fresh.Close()); err == nil {
		err = os.Rename(fresh.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(fresh.Name()))
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
