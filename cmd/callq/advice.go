package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// ownerOnly is the mode of new files with results or calls: answers of an API may be
// confidential. An existing file keeps its mode.
const ownerOnly = 0o600

// unwritable adds what to do to the error that the file of results, named by -o, cannot be
// opened.
func unwritable(err error) error {
	todo := "choose another file with -o"
	if errors.Is(err, fs.ErrNotExist) {
		todo = "make the folder, or " + todo
	}
	return fmt.Errorf("%w; %s", err, todo)
}

// unlistenable shortens the error that an address cannot be listened on, and adds what to do.
func unlistenable(err error) error {
	todo := "choose another address"
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		todo = "choose another port, or port 0 for a free one"
	case errors.Is(err, syscall.EACCES):
		todo = "choose a port above 1023, or port 0 for a free one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		todo = "choose an address of this machine, as 127.0.0.1:PORT"
	}
	if call := new(os.SyscallError); errors.As(err, &call) {
		err = call.Err // without the address, which the caller names
	}
	return fmt.Errorf("%w; %s", err, todo)
}
