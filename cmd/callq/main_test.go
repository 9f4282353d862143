package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestMain(m *testing.M) {
	redistest.Parallel(6)
	testscript.Main(m, map[string]func(){"callq": main})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("TZ", "UTC")
			// A program built with the race detector waits a second before it ends.
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
	})
}

// status runs a command that must end with the given exit status, as in
// "status 2 callq vresion". Its output is there for stdout and stderr.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("got %v", err)
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d\n%s%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// callq runs the program in the process, without input and environment.
func callq(t *testing.T, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	var out, errs bytes.Buffer
	status = run(context.Background(), args, bytes.NewReader(nil), &out, &errs, func(string) string { return "" })
	return out.String(), errs.String(), status
}

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	defer full.Close()
	for _, args := range [][]string{{"version"}, {"policy", "presets"}, {"policy", "show", "http"}, {"policy", "test", "http"}, {"policy", "explain", "http", "--status", "200"}} {
		var errs bytes.Buffer
		if got := run(context.Background(), args, nil, full, &errs, os.Getenv); got != exitFailed || errs.Len() == 0 {
			t.Errorf("%v: exit status %d, %q", args, got, errs.String())
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	root := (&app{}).root()
	for _, cmd := range root.Commands() {
		if cmd.Short == "" {
			t.Errorf("%s has no short description", cmd.CommandPath())
		}
		for _, child := range cmd.Commands() {
			if child.Short == "" {
				t.Errorf("%s has no short description", child.CommandPath())
			}
		}
		if out, _, status := callq(t, cmd.Name(), "--help"); status != exitOK || out == "" {
			t.Errorf("%s --help: status %d", cmd.Name(), status)
		}
	}
}
