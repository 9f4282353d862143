package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// home is a folder with the program in it, as a user has it: a configuration, a
// place for data, a PATH.
type home struct {
	t    *testing.T
	dir  string
	path string
	env  []string
}

// eachRedis runs a test with the Redis inside the process and with the embedded
// one.
func eachRedis(t *testing.T, test func(t *testing.T, h *home)) {
	if !redistest.OnlyRedis() {
		t.Run("miniredis", func(t *testing.T) {
			t.Parallel()
			test(t, newHome(t, filepath.Dir(program(t))))
		})
	}
	t.Run("embedded", func(t *testing.T) {
		t.Parallel()
		test(t, newHome(t, filepath.Dir(redistest.Binary(t))))
	})
}

func newHome(t *testing.T, path string) *home {
	t.Helper()
	dir := t.TempDir()
	return &home{t: t, dir: dir, path: path, env: []string{"PATH=" + path, "HOME=" + dir, "TZ=UTC", "GORACE=atexit_sleep_ms=0"}}
}

// program is where testscript has put the program.
func program(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath("callq")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *home) file(name string) string { return filepath.Join(h.dir, name) }

func (h *home) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.file(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func (h *home) read(name string) string {
	h.t.Helper()
	data, err := os.ReadFile(h.file(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return string(data)
}

// command is the program with arguments, not started.
func (h *home) command(args ...string) (cmd *exec.Cmd, stdout, stderr *bytes.Buffer) {
	cmd = exec.Command(program(h.t), args...)
	cmd.Dir, cmd.Env = h.dir, h.env
	stdout, stderr = &bytes.Buffer{}, &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	return cmd, stdout, stderr
}

// callq runs the program and checks its exit status.
func (h *home) callq(want int, args ...string) (stdout, stderr string) {
	h.t.Helper()
	cmd, out, errs := h.command(args...)
	h.ended(cmd.Run(), want, out, errs, args)
	return out.String(), errs.String()
}

func (h *home) ended(err error, want int, out, errs *bytes.Buffer, args []string) {
	h.t.Helper()
	got := 0
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = exit.ExitCode()
	case err != nil:
		h.t.Fatal(err)
	}
	if got != want {
		h.t.Fatalf("callq %v: exit status %d, want %d\n%s%s", args, got, want, out, errs)
	}
}
