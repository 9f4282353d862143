// Package fileerror inspects the errors of files.
package fileerror

import (
	"errors"
	"io/fs"
	"syscall"
)

// WithoutPath returns err without its path, for a message that names the path itself.
func WithoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// ReaderClosed reports whether err is from a write to a pipe, such as standard output, that
// its reader has closed. An error of a broken connection is not.
func ReaderClosed(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && errors.Is(path.Err, syscall.EPIPE)
}
