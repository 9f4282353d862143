package fileerror

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

func TestWithoutPathRemovesOnlyThePath(t *testing.T) {
	_, err := os.Open("/no/such/file")
	if got := WithoutPath(fmt.Errorf("read: %w", err)); got != syscall.ENOENT {
		t.Errorf("got %v, want ENOENT", got)
	}
	if other := errors.New("other"); WithoutPath(other) != other || WithoutPath(nil) != nil {
		t.Error("an error without a path was changed")
	}
}

func TestExplainSaysWhichFileIsMissingAndWhatToDo(t *testing.T) {
	_, missing := os.Open("no/such/file")
	for want, err := range map[string]error{
		"there is no file no/such/file; correct the path":                                        missing,
		"a cannot be read: permission denied; change its permissions, or run callq as its owner": &fs.PathError{Op: "open", Path: "a", Err: syscall.EACCES},
		"a cannot be read: too many open files":                                                  &fs.PathError{Op: "open", Path: "a", Err: syscall.EMFILE},
	} {
		if got := Explain(err); got.Error() != want || !errors.Is(got, err) {
			t.Errorf("got %v, want %s", got, want)
		}
	}
	if other := errors.New("other"); Explain(other) != other || Explain(nil) != nil {
		t.Error("an error without a path was changed")
	}
}

func TestReaderClosedIsTrueOnlyForAClosedPipe(t *testing.T) {
	for _, c := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "write", Path: "/dev/stdout", Err: syscall.EPIPE}, true},
		{fmt.Errorf("x: %w", &fs.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}), true},
		{&fs.PathError{Op: "write", Path: "out", Err: syscall.ENOSPC}, false},
		{syscall.EPIPE, false}, // of a connection
		{nil, false},
	} {
		if got := ReaderClosed(c.err); got != c.want {
			t.Errorf("%v: got %t, want %t", c.err, got, c.want)
		}
	}
}
