package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-2903acc3/callq/internal/atomicfile"
)

// writeOut writes a file that the user has named with -o. The file is either complete or
// unchanged; an existing file keeps its mode. Standard output is not for it.
func writeOut(path string, write func(io.Writer) error) error {
	mode := os.FileMode(ownerOnly)
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
		mode = info.Mode().Perm()
	} else if err == nil { // a pipe or a device cannot be replaced
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return usageError("%w", unwritable(err))
		}
		return errors.Join(write(f), f.Close())
	}
	f, err := atomicfile.Create(path, mode)
	if err != nil {
		return usageError("%w", unwritable(err))
	}
	if err := write(f); err != nil {
		f.Discard()
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(path))
}
