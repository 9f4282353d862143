// Package redisproc runs a Redis-compatible server as a child process on a unix socket,
// and reports when it answers. Its callers decide who owns the data folder, and what
// happens when the server dies.
package redisproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// Binary is a server program found on PATH.
type Binary struct {
	Path    string
	Version string // like "7.0.15"; empty if the program does not print it
}

// TooOld reports whether the program names a version that lacks what callq needs.
func (b Binary) TooOld() bool { return redisinfo.TooOld(b.Version) }

var versionPattern = regexp.MustCompile(`\bv=(\d+\.\d+\.\d+)`)

// Find lists the server programs on PATH, the preferred one first: valkey-server, then
// redis-server. The list is empty if there is none, and on systems on which callq
// cannot run one.
func Find() []Binary {
	if !supported {
		return nil
	}
	var found []Binary
	for _, name := range []string{"valkey-server", "redis-server"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if path, err = filepath.Abs(path); err != nil {
			continue
		}
		found = append(found, Binary{Path: path, Version: version(path)})
	}
	return found
}

func version(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--version")
	cmd.Env = environ()
	out, err := cmd.Output()
	if err != nil {
		return ""
	}
	if m := versionPattern.FindSubmatch(out); m != nil {
		return string(m[1])
	}
	return ""
}

// environ is the whole environment of a server. It is not callq's own, which may hold
// API tokens; and a server under a service manager would try to notify it.
func environ() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
}

// Spec is the server to run.
type Spec struct {
	Binary string
	Dir    string   // data folder and working directory; absolute
	Socket string   // absolute path of the unix socket, short enough for the system
	Output *os.File // receives the server's log
	// Environ is added to the server's environment, as NAME=VALUE.
	Environ []string
	// Keep stays open in the server as long as it lives.
	Keep []*os.File
}

// Process is a running server.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

// Start runs the server and returns as soon as its process exists; [Dial] succeeds once
// it answers. The server is in a process group of its own, so that Ctrl-C in a terminal
// reaches only callq. If the system supports it, the server is asked to end (SIGTERM)
// when this process dies.
func Start(spec Spec) (*Process, error) {
	cmd := exec.Command(spec.Binary,
		"--port", "0",
		"--unixsocket", spec.Socket,
		"--unixsocketperm", "700",
		"--appendonly", "yes",
		// With always a worker is half as fast. With everysec, on a slow disk, Redis
		// answers before it has written: the ledger waits for the writes that must not
		// be lost.
		"--appendfsync", "everysec",
		"--save", "",
		// Records and tasks are hashes of a few hundred bytes. As a listpack a waiting call
		// takes 40 % less memory; by default a single value over 64 bytes makes a hash a
		// table.
		"--hash-max-listpack-value", strconv.Itoa(redisinfo.ListpackValue),
		// asynq keeps the lease of each active task in a sorted set. As a listpack it is read
		// from its beginning for each of them.
		"--zset-max-listpack-entries", "16",
		// A small file is rewritten every few seconds under load, which slows the worker.
		"--auto-aof-rewrite-min-size", "256mb",
		"--dir", spec.Dir,
		"--maxmemory-policy", "noeviction",
		"--daemonize", "no",
	)
	cmd.Dir = spec.Dir
	cmd.Stdout, cmd.Stderr = spec.Output, spec.Output
	cmd.ExtraFiles, cmd.Env = spec.Keep, spec.Environ
	return Run(cmd)
}

// Run starts a server program with the caller's options, with a minimal environment and
// the variables in cmd.Env, in a process group of its own. If the system supports it,
// the program ends with this process.
func Run(cmd *exec.Cmd) (*Process, error) {
	cmd.Env = append(environ(), cmd.Env...)
	cmd.SysProcAttr = childAttr()
	p := &Process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		// The parent-death signal is tied to the thread that forked, not to the
		// process: if that thread ended, the server would be asked to end while callq
		// still runs. So one thread is kept as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		_ = cmd.Wait() // Exit returns how it ended
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// Pid is the server's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the server has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Exit returns how the server ended, like "exit status 1". Call it only after Done.
func (p *Process) Exit() string { return p.cmd.ProcessState.String() }

// Kill ends the server at once (SIGKILL) and waits until it is gone.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// Stop asks the server to write its file and end (SIGTERM), and kills it after grace.
// It returns when the server has ended.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-timer.C:
		p.Kill()
	}
}

// ErrNotReady reports that a server is there but cannot answer yet or any more: it is
// loading its file, shutting down, or its queue of connections is full. The caller
// should try again soon.
var ErrNotReady = errors.New("the server is starting or ending")

// ErrAbsent reports that no process listens on the socket.
var ErrAbsent = errors.New("no server listens")

// PingTimeout bounds the wait for one answer to PING. A server that is loading a file
// answers too (with LOADING), so a longer silence means that it hangs.
const PingTimeout = 5 * time.Second

// MaxSocketPath is the length of a socket's path that every system accepts: 108 bytes
// on Linux, 104 on the BSDs and macOS, minus a closing NUL.
const MaxSocketPath = 103

// Dial connects to the server on the socket and returns the connection once the server
// has answered a PING on it. Errors are, or wrap, [ErrAbsent] or [ErrNotReady] if these
// apply; any other error is final.
func Dial(ctx context.Context, socket string) (net.Conn, error) {
	if len(socket) > MaxSocketPath {
		return nil, ErrAbsent
	}
	dialer := net.Dialer{Timeout: PingTimeout}
	conn, err := dialer.DialContext(ctx, "unix", socket)
	switch {
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
		return nil, ErrAbsent
	case errors.Is(err, syscall.EAGAIN):
		return nil, ErrNotReady
	case err != nil:
		return nil, err
	}
	reply, err := Ask(ctx, conn, "PING")
	if err == nil && reply == "+PONG" {
		return conn, nil
	}
	_ = conn.Close()
	switch {
	case err == nil && strings.HasPrefix(reply, "-LOADING"):
		return nil, ErrNotReady
	case err == nil:
		return nil, fmt.Errorf("the server on %s answered PING with %.80q", socket, reply)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return nil, ErrNotReady
	}
	return nil, err
}

// Ask sends one command and returns its one-line reply, with RESP's first byte and
// without the line end. It waits at most [PingTimeout].
func Ask(ctx context.Context, conn net.Conn, args ...string) (string, error) {
	deadline := time.Now().Add(PingTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		return "", err
	}
	// Byte by byte: bytes behind the line are left for the next reader of the
	// connection.
	var line []byte
	for one := make([]byte, 1); len(line) < 512; {
		if _, err := io.ReadFull(conn, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			break
		}
		line = append(line, one[0])
	}
	return strings.TrimSuffix(string(line), "\r"), conn.SetDeadline(time.Time{})
}

// Await polls the socket until the server answers. It gives up when ctx ends or
// when p, which may be nil, has ended.
func Await(ctx context.Context, socket string, p *Process) (net.Conn, error) {
	var ended <-chan struct{}
	if p != nil {
		ended = p.done
	}
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		conn, err := Dial(ctx, socket)
		if err == nil || !errors.Is(err, ErrAbsent) && !errors.Is(err, ErrNotReady) {
			return conn, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ended:
			timer.Stop()
			return nil, fmt.Errorf("the server ended while starting: %s", p.Exit())
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: %w", err, ctx.Err())
		}
	}
}
