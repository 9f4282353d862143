package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// unwritable puts what to do behind the error with which a file of results, named by
// -o, was not opened.
func unwritable(err error) error {
	todo := "choose another file with -o"
	if errors.Is(err, fs.ErrNotExist) {
		todo = "make the folder, or " + todo
	}
	return fmt.Errorf("%w; %s", err, todo)
}

// unstoredError says that a file was not written, why, and what to do.
type unstoredError struct {
	name, todo string
	err        error
}

func (e *unstoredError) Error() string {
	return fmt.Sprintf("cannot write %s: %v; %s", e.name, e.err, e.todo)
}

func (e *unstoredError) Unwrap() error { return e.err }

// unstored makes an unstoredError of the error of a write or of what follows it.
func unstored(name string, err error) error {
	todo := "see what is wrong with the disk"
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		todo = "make room"
	case errors.Is(err, syscall.EFBIG):
		todo = "raise the limit of a file's size (ulimit -f)"
	case errors.Is(err, fs.ErrNotExist):
		todo = "make the folder"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		todo = "make it writable"
	}
	return &unstoredError{name: name, todo: todo, err: withoutPath(err)}
}

// untakable puts what to do behind the error with which an address was not listened
// on.
func untakable(err error) error {
	todo := "choose another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		todo = "choose another port, or port 0 for a free one"
	case errors.Is(err, syscall.EACCES):
		todo = "choose a port above 1023, or port 0 for a free one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		todo = "choose an address of this machine, as 127.0.0.1:PORT"
	}
	return fmt.Errorf("%w; %s", err, todo)
}
