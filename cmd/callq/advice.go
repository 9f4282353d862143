package main

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// ownerOnly is the mode of new files that hold results or calls: what an API said may
// be nobody else's business. A file that is there keeps its mode.
const ownerOnly = 0o600

// unwritable puts what to do behind the error with which a file of results, named by
// -o, was not opened.
func unwritable(err error) error {
	todo := "choose another file with -o"
	if errors.Is(err, fs.ErrNotExist) {
		todo = "make the folder, or " + todo
	}
	return fmt.Errorf("%w; %s", err, todo)
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
