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

// Explain returns err, of opening a file, in words that say what to do. It wraps err.
func Explain(err error) error {
	var path *fs.PathError
	switch {
	case !errors.As(err, &path):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &explained{"there is no file " + path.Path + "; correct the path", err}
	case errors.Is(err, fs.ErrPermission):
		return &explained{path.Path + " cannot be read: permission denied; change its permissions, or run callq as its owner", err}
	default:
		return &explained{path.Path + " cannot be read: " + path.Err.Error(), err}
	}
}

type explained struct {
	text string
	err  error
}

func (e *explained) Error() string { return e.text }
func (e *explained) Unwrap() error { return e.err }

// ReaderClosed reports whether err is from a write to a pipe, such as standard output, that
// its reader has closed. An error of a broken connection is not.
func ReaderClosed(err error) bool {
	var path *fs.PathError
	return errors.As(err, &path) && errors.Is(path.Err, syscall.EPIPE)
}
