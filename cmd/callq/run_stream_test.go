//go:build unix

package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTheResultsOfAStreamAreWrittenToStandardOutput gives the calls as a shell does with <(…) and through a named pipe: both can be read
// once only, and have no place for results beside them.
func TestTheResultsOfAStreamAreWrittenToStandardOutput(t *testing.T) {
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{}`))
	}))
	t.Cleanup(api.Close)
	const calls = "{\"key\":\"a\",\"path\":\"/a\"}\n{\"key\":\"b\",\"path\":\"/b\"}\n"
	for _, test := range []struct {
		name string
		out  string // where the results go; empty: standard output
	}{
		{name: "descriptor"},
		{name: "named pipe"},
		{name: "descriptor", out: "out"},
		{name: "named pipe", out: "out"},
	} {
		t.Run(test.name+" "+test.out, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, filepath.Dir(program(t)))
			h.write("callq.yaml", "upstreams: {api: {base_url: \""+api.URL+"\", policy: http}}\n")
			args := []string{"run", "/dev/fd/3"}
			if test.name == "named pipe" {
				args[1] = "pipe"
				if err := syscall.Mkfifo(h.file("pipe"), 0o600); err != nil {
					t.Skip(err)
				}
			}
			if test.out != "" {
				args = append(args, "-o", test.out)
			}
			cmd, stdout, stderr := h.command(args...)
			feed := func(w *os.File) {
				_, _ = w.WriteString(calls) // what does not arrive is missing below
				_ = w.Close()
			}
			if test.name == "descriptor" {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				cmd.ExtraFiles = []*os.File{r}
				go feed(w)
			} else {
				go func() {
					if w, err := os.OpenFile(h.file("pipe"), os.O_WRONLY, 0); err == nil {
						feed(w)
					}
				}()
			}
			h.ended(cmd.Run(), exitOK, stdout, stderr, args)
			got := stdout.String()
			if test.out != "" {
				got = h.read(test.out)
			}
			if strings.Count(got, `"state":"done"`) != 2 || !strings.Contains(got, `"line":2`) {
				t.Errorf("results:\n%s%s", got, stderr)
			}
			if left, err := filepath.Glob(h.file("*.results.jsonl*")); err != nil || len(left) > 0 {
				t.Errorf("results beside the stream: %v, %v", left, err)
			}
		})
	}
}

func TestStreamsAreDistinguishedFromFiles(t *testing.T) {
	dir := t.TempDir()
	file, pipe := filepath.Join(dir, "file"), filepath.Join(dir, "pipe")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	for _, test := range []struct {
		name string
		want bool
	}{
		{"-", true},
		{"/dev/stdin", true},
		{"/dev/fd/63", true},
		{"/dev//fd/3", true},
		{"/proc/self/fd/0", true},
		{"/proc/17/fd/0", true},
		{pipe, true},
		{"/dev/null", true},
		{file, false},
		{dir, false},
		{filepath.Join(dir, "missing"), false},
		{"/dev/shm/calls.jsonl", false},
		{"dev/stdin", false},
	} {
		if got := isStream(test.name); got != test.want {
			t.Errorf("%s: got %v", test.name, got)
		}
	}
}
