package main

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestErrorsOfTheSystemSayWhatToDo(t *testing.T) {
	file := func(err error) error { return unwritable(&fs.PathError{Op: "open", Path: "ro/out", Err: err}) }
	address := func(err error) error {
		return unlistenable(&net.OpError{Op: "listen", Net: "tcp", Err: os.NewSyscallError("bind", err)})
	}
	for want, err := range map[string]error{
		"open ro/out: permission denied; choose another file with -o":                             file(syscall.EACCES),
		"open ro/out: no such file or directory; make the folder, or choose another file with -o": file(syscall.ENOENT),
		"address already in use; choose another port, or port 0 for a free one":                   address(syscall.EADDRINUSE),
		"permission denied; choose a port above 1023, or port 0 for a free one":                   address(syscall.EACCES),
		"cannot assign requested address; choose an address of this machine, as 12":               address(syscall.EADDRNOTAVAIL),
		"invalid argument; choose another address":                                                address(syscall.EINVAL),
	} {
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestTheErrorForATakenAdminAddressSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	t.Chdir(t.TempDir())
	_, errs, status := callq(t, "admin", "--listen", taken.Addr().String())
	want := fmt.Sprintf("--listen: cannot listen on the admin address %[1]s: address already in use; choose another port, or port 0 for a free one\n", taken.Addr())
	if status != exitUsage || errs != want {
		t.Errorf("status %d: %s", status, errs)
	}
}
