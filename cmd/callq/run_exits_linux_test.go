package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// wayOut is a way in which a run is made to end while calls are on their way.
type wayOut struct {
	out string // -o; "out" where it is empty
	// begin prepares the command; end makes it end.
	begin func(t *testing.T, cmd *exec.Cmd)
	end   func(t *testing.T, cmd *exec.Cmd)
	// says is what stderr must contain, empty if stderr is closed.
	says string
	more string // configuration
	// byItself reports that the run ends by itself, so the test cannot wait for anything
	// before.
	byItself bool
}

// signalled is an end by a signal.
func signalled(s os.Signal) wayOut {
	return wayOut{
		end:  func(_ *testing.T, cmd *exec.Cmd) { _ = cmd.Process.Signal(s) },
		says: "not finished; run the same command again to continue\n",
	}
}

// pipe is a pipe whose reader closes it after the command has begun to write.
func pipe(t *testing.T) (writer *os.File, leave func(*testing.T, *exec.Cmd)) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w, func(*testing.T, *exec.Cmd) { _ = r.Close() }
}

// terminal is both ends of a pseudo terminal.
func terminal(t *testing.T) (near, far *os.File) {
	t.Helper()
	near, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("there are no pseudo terminals here")
	}
	n, err := unix.IoctlGetInt(int(near.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(near.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	far, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

func readerOfStdoutLeaves(config string) wayOut {
	var leave func(*testing.T, *exec.Cmd)
	return wayOut{
		out:   "-",
		begin: func(t *testing.T, cmd *exec.Cmd) { cmd.Stdout, leave = pipe(t) },
		end:   func(t *testing.T, cmd *exec.Cmd) { leave(t, cmd) },
		says:  "the program that reads standard output ended before it had all results; run the same command again: it first writes the results that the queue has\n",
		more:  config,
	}
}

func waysOut() map[string]wayOut {
	var near, far *os.File
	var leave func(*testing.T, *exec.Cmd)
	return map[string]wayOut{
		"Ctrl-C":                         signalled(syscall.SIGINT),
		"SIGTERM":                        signalled(syscall.SIGTERM),
		"SIGQUIT":                        signalled(syscall.SIGQUIT),
		"SIGHUP":                         signalled(syscall.SIGHUP),
		"no more CPU time":               signalled(syscall.SIGXCPU),
		"the reader of stdout leaves":    readerOfStdoutLeaves(""),
		"the same, and bodies are freed": readerOfStdoutLeaves("ledger: {bodies: drop}\n"),
		"all readers leave": {
			out: "-",
			begin: func(t *testing.T, cmd *exec.Cmd) {
				cmd.Stdout, leave = pipe(t)
				cmd.Stderr = cmd.Stdout
			},
			end: func(t *testing.T, cmd *exec.Cmd) { leave(t, cmd) },
		},
		"the reader of a named pipe leaves": {
			out: "fifo",
			begin: func(t *testing.T, cmd *exec.Cmd) {
				path := filepath.Join(cmd.Dir, "fifo")
				if err := unix.Mkfifo(path, 0o600); err != nil {
					t.Fatal(err)
				}
				go func() {
					f, err := os.Open(path)
					if err != nil {
						t.Error(err)
						return
					}
					_, _ = f.Read(make([]byte, 1))
					_ = f.Close()
				}()
			},
			byItself: true,
			says:     "the program that reads fifo ended before",
		},
		"the disk under stdout is full": {
			out: "-",
			begin: func(t *testing.T, cmd *exec.Cmd) {
				full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
				if err != nil {
					t.Skip("there is no /dev/full here")
				}
				t.Cleanup(func() { _ = full.Close() })
				cmd.Stdout = full
			},
			byItself: true,
			says:     "cannot write standard output: no space left on device; free some space, then run the same command again",
		},
		"OUT may not grow": {
			end: func(t *testing.T, cmd *exec.Cmd) {
				if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 1500, Max: unix.RLIM_INFINITY}, nil); err != nil {
					t.Fatal(err)
				}
			},
			says: "cannot write out: file too large; raise the limit on the size of files (ulimit -f), then run the same command again to continue",
		},
		"a closed terminal": {
			begin: func(t *testing.T, cmd *exec.Cmd) {
				near, far = terminal(t)
				cmd.Stdin, cmd.Stdout, cmd.Stderr = far, far, far
				cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			},
			end: func(_ *testing.T, cmd *exec.Cmd) {
				_ = far.Close()
				_ = near.Close()
			},
		},
	}
}

func TestARunThatMustEndFinishesItsInflightCallsAndKeepsTheirResults(t *testing.T) {
	t.Parallel()
	const posts, together = 24, 4
	for name, way := range waysOut() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t, filepath.Dir(redistest.Binary(t)))
			sim, url := simulate(t, simapi.Config{})
			if err := sim.Script("POST /* -> ok latency=300ms forever"); err != nil {
				t.Fatal(err)
			}
			h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, concurrency: %d}}\n%s", url, together, way.more))
			var lines strings.Builder
			for i := range posts {
				fmt.Fprintf(&lines, "{\"key\":\"k%d\",\"method\":\"POST\",\"path\":\"/%d\"}\n", i, i)
			}
			h.write("calls.jsonl", lines.String())
			out := way.out
			if out == "" {
				out = "out"
			}
			cmd, _, errs := h.command("run", "calls.jsonl", "-o", out)
			if way.begin != nil {
				way.begin(t, cmd)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if !way.byItself {
				await(t, "calls on their way", func() bool { s := sim.Stats(); return s.Arrivals > together && s.InFlight > 0 })
				way.end(t, cmd)
			}
			timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			err := cmd.Wait()
			timer.Stop()
			if status := cmd.ProcessState.ExitCode(); status != exitFailed || !strings.Contains(errs.String(), way.says) {
				t.Errorf("it ended with %d, %v, and printed:\n%s", status, err, errs)
			}
			if sim.Stats().InFlight != 0 {
				t.Error("it left calls on their way")
			}
			if text, err := os.ReadFile(h.file("out")); err == nil && len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
				t.Errorf("a part of a line stays: %q", text)
			}
			made := sim.Stats().Arrivals
			if made == posts {
				t.Error("it made all calls")
			}
			h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
			for key, end := range h.results("out") {
				if n := sim.Stats().ByPath["/"+key[1:]]; end != "done ok" || n != 1 {
					t.Errorf("%s ended %s and arrived %d times", key, end, n)
				}
			}
			if text := h.read("out"); strings.Count(text, "\n") != posts || strings.Contains(text, "\"body\":null}\n") {
				t.Errorf("there are %d results, or some without a body", strings.Count(text, "\n"))
			}
		})
	}
}

func TestWithoutARedisResultsThatCannotBeWrittenGoToAnotherFile(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.env = append(h.env, "TMPDIR="+h.dir)
	sim, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/a"}`+"\n"+`{"key":"b","method":"POST","path":"/b"}`+"\n")
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	_, errs := h.callq(exitFailed, "run", "calls.jsonl", "-o", "/dev/full")
	kept, err := filepath.Glob(h.file("callq-results-*.jsonl"))
	if err != nil || len(kept) != 1 || !strings.Contains(errs, kept[0]+". With -o ") {
		t.Fatalf("got the results %v and the output:\n%s", kept, errs)
	}
	made := sim.Stats().Arrivals
	h.callq(exitOK, "run", "calls.jsonl", "-o", kept[0])
	again := 0
	for _, n := range sim.Stats().ByPath {
		if n > 1 {
			again++
		}
	}
	if made == 0 || again > 0 {
		t.Errorf("of %d calls %d were made twice", made, again)
	}
}

func TestACommandWhoseOutputIsClosedEndsWithoutAMessage(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	h.write("callq.yaml", "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\n")
	h.write("calls.jsonl", `{"key":"a","path":"/a"}`+"\n")
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	h.callq(exitOK, "batch", "cancel", "b", "--yes")
	for _, args := range [][]string{
		{"batch", "list"}, {"batch", "list", "--json"}, {"batch", "status", "b"}, {"batch", "export", "b"}, {"circuit", "list"},
		{"policy", "presets"}, {"policy", "show", "patsnap"}, {"completion", "bash"}, {"version"}, {"run", "calls.jsonl", "--dry-run"},
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		cmd, _, errs := h.command(args...)
		cmd.Stdout = w
		var exit *exec.ExitError
		if err := cmd.Run(); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || errs.Len() > 0 {
			t.Errorf("callq %s ended with %v and printed %q", strings.Join(args, " "), err, errs)
		}
		_ = w.Close()
	}
}

func TestAWorkerContinuesWhenItsLogIsClosed(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	sim, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\nadmin: {listen: \"127.0.0.1:0\"}\n", url))
	cmd, _, _ := h.command("work")
	cmd.Stdout, cmd.Stderr = nil, nil
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := io.ReadFull(log, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	// A line in the log: a hold.
	if err := sim.Script("GET /held -> 67200002 retry-after=1; ok forever"); err != nil {
		t.Fatal(err)
	}
	h.callq(exitOK, "send", "GET", "/held", "--key", "a", "--batch", "b", "--wait")
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
