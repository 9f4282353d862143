//go:build unix

package main

import (
	"os"
	"testing"
)

// mode checks the mode of a file.
func (r *rerun) mode(file string, want os.FileMode) {
	r.t.Helper()
	info, err := os.Stat(r.file(file))
	if err != nil {
		r.t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != want {
		r.t.Errorf("%s has the mode %o, want %o", file, got, want)
	}
}

func TestOnlyTheOwnerCanReadFilesOfResults(t *testing.T) {
	t.Parallel()
	r := newRerun(t, "GET /b -> 68300004; ok")
	r.write("calls.jsonl", `{"key":"a","path":"/a"}`+"\n"+`{"key":"b","path":"/b"}`+"\n")
	r.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo", "dropped")
	r.callq(exitOK, "batch", "export", r.batch(), "-o", "exported")
	r.callq(exitOK, "batch", "export", r.batch(), "-o", "calls", "--calls")
	for _, file := range []string{"out", "out.old.jsonl", "exported", "calls"} {
		r.mode(file, 0o600)
	}

	// What somebody has opened to others stays so.
	for _, file := range []string{"out", "exported"} {
		if err := os.Chmod(r.file(file), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	r.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo-keys", "a")
	r.callq(exitOK, "batch", "export", r.batch(), "-o", "exported")
	r.mode("out", 0o640)
	r.mode("exported", 0o640)
	r.mode("out.old.jsonl", 0o600)
}
