// Package fileerror reads the errors of files.
package fileerror

import (
	"errors"
	"io/fs"
	"syscall"
)

// WithoutPath keeps the path out of an error whose message names it already.
func WithoutPath(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// ReaderLeft reports whether err is that of a write to a pipe, such as standard
// output, whose reader has closed it. A broken connection is not.
func ReaderLeft(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && errors.Is(path.Err, syscall.EPIPE)
}
