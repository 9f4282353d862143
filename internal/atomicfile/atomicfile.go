// Package atomicfile replaces files so that whoever reads them, and a crash of the
// machine, finds the old content or the new one and nothing between.
//
//	err := atomicfile.Write("calls.sent", text, 0o600)
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write puts a file with the content in the place of path, on the disk before it is
// there. After an error path is what it was.
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
	_ = SyncDir(filepath.Dir(path)) // not every file system can; then its order of writing is all there is
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
