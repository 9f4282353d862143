//go:build unix

package redisconn

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// dataDir returns a folder for an embedded server whose path is short enough for a
// socket.
func dataDir(t *testing.T) string {
	t.Helper()
	redistest.Binary(t)
	dir, err := os.MkdirTemp("", "callq")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func embeddedURL(dir string) string {
	return "embedded://" + (&url.URL{Path: dir}).EscapedPath()
}

func openDir(t *testing.T, dir string) *Conn {
	t.Helper()
	c, err := Open(t.Context(), embeddedURL(dir), Options{Purpose: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func serverPid(t *testing.T, c *Conn) int {
	t.Helper()
	info, err := c.Client.Info(t.Context(), "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, "process_id:"); ok {
			pid, err := strconv.Atoi(strings.TrimSpace(v))
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("the server does not report its process id")
	return 0
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestTheNextOwnerHasTheDataOfTheLastOne(t *testing.T) {
	dir := dataDir(t)
	first := openDir(t, dir)
	if first.Volatile || first.Notice != "" {
		t.Fatal("a server with a file is reported as volatile")
	}
	set(t, first, "k", "v")
	pid := serverPid(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if !gone(pid) {
		t.Fatal("the server still runs after its owner's Close")
	}
	mustGet(t, openDir(t, dir), "k", "v")
}

func TestAJoinerUsesTheServerWithoutOwningIt(t *testing.T) {
	dir := dataDir(t)
	owner := openDir(t, dir)
	set(t, owner, "k", "v")
	joiner := openDir(t, dir)
	mustGet(t, joiner, "k", "v")
	pid := serverPid(t, owner)
	if err := joiner.Close(); err != nil {
		t.Fatal(err)
	}
	if again := serverPid(t, owner); again != pid {
		t.Fatalf("the server changed from %d to %d", pid, again)
	}
}

// The exact count needs both the pause before the end and the retry after it: without
// the pause an answer is sometimes lost, and its INCR repeated.
func TestNoWriteIsLostOrDoneTwiceWhenTheOwnerCloses(t *testing.T) {
	dir := dataDir(t)
	for round := range 3 {
		owner := openDir(t, dir)
		joiner := openDir(t, dir)
		before, _ := joiner.Client.Get(t.Context(), "n").Int64()
		var done atomic.Int64
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					if err := joiner.Client.Incr(t.Context(), "n").Err(); err != nil {
						t.Errorf("round %d: %v", round, err)
						return
					}
					done.Add(1)
				}
			})
		}
		eventually(t, "the joiner's first writes", func() bool { return done.Load() > 500 || t.Failed() })
		pid := serverPid(t, joiner)
		if err := owner.Close(); err != nil {
			t.Error(err)
		}
		atClose := done.Load()
		eventually(t, "writes after the owner left", func() bool { return done.Load() > atClose+500 || t.Failed() })
		close(stop)
		wg.Wait()
		n, err := joiner.Client.Get(t.Context(), "n").Int64()
		if err != nil || n-before != done.Load() {
			t.Fatalf("round %d: got %d written, %d acknowledged (%v)", round, n-before, done.Load(), err)
		}
		if serverPid(t, joiner) == pid {
			t.Fatal("the owner's server still runs")
		}
		_ = joiner.Close()
	}
}

func TestACrashedServerIsStartedAgain(t *testing.T) {
	dir := dataDir(t)
	c := openDir(t, dir)
	set(t, c, "key", "v")
	written(t, dir, "key")
	pid := serverPid(t, c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	mustGet(t, c, "key", "v")
	if serverPid(t, c) == pid {
		t.Fatal("the process id did not change")
	}
}

// written waits until a server has written a key into its file. While the disk is busy, Redis
// does so up to two seconds after it has answered.
func written(t *testing.T, dir, key string) {
	t.Helper()
	eventually(t, "the key "+key+" in the file", func() bool {
		files, _ := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
		return slices.ContainsFunc(files, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && bytes.Contains(text, []byte(key))
		})
	})
}

func TestATruncatedFileIsLoadedUpToItsEnd(t *testing.T) {
	dir := dataDir(t)
	c := openDir(t, dir)
	set(t, c, "whole", "v")
	set(t, c, "cut", "v")
	files, err := filepath.Glob(filepath.Join(dir, "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	written(t, dir, "cut")
	pid := serverPid(t, c)
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the server", func() bool { return gone(pid) })
	_ = c.Close()
	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(files[0], info.Size()-3); err != nil {
		t.Fatal(err)
	}
	c = openDir(t, dir)
	mustGet(t, c, "whole", "v")
	if n := c.Client.Exists(t.Context(), "cut").Val(); n != 0 {
		t.Fatal("the truncated part was loaded")
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	dir := dataDir(t)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, socketName)})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	if err := os.WriteFile(filepath.Join(dir, lockName), []byte("1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	set(t, openDir(t, dir), "k", "v")
}

func TestNoSecondServerIsStartedIfTheSocketWasRemoved(t *testing.T) {
	dir := dataDir(t)
	c := openDir(t, dir)
	pid := serverPid(t, c)
	if err := os.Remove(filepath.Join(dir, socketName)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	e := &embedded{dir: dir, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(e.close)
	_, err := e.dial(ctx, "", "")
	var trouble *redisinfo.Error
	if !errors.As(err, &trouble) || trouble.Kind != redisinfo.KindEmbedded || !strings.Contains(err.Error(), strconv.Itoa(pid)) {
		t.Fatalf("got %v", err)
	}
	if serverPid(t, c) != pid {
		t.Fatal("the server changed")
	}
}

func TestAServerThatHangsIsReportedAndNotReplaced(t *testing.T) {
	dir := dataDir(t)
	c := openDir(t, dir)
	pid := serverPid(t, c)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGCONT)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := Open(ctx, embeddedURL(dir), Options{})
	var trouble *redisinfo.Error
	if !errors.As(err, &trouble) || trouble.Kind != redisinfo.KindTimeout {
		t.Fatalf("got %v", err)
	}
}

func TestAFolderWithALongPathHasItsSocketElsewhere(t *testing.T) {
	dir := filepath.Join(dataDir(t), strings.Repeat("long", 30))
	t.Setenv("XDG_RUNTIME_DIR", "")
	owner := openDir(t, dir)
	set(t, owner, "k", "v")
	data, err := os.ReadFile(filepath.Join(dir, whereName))
	if err != nil {
		t.Fatal(err)
	}
	short := filepath.Dir(strings.TrimSpace(string(data)))
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	if info, err := os.Stat(short); err != nil || info.Mode().Perm() != 0o700 {
		t.Fatalf("%s: %v, %v", short, info.Mode(), err)
	}
	// A process with other folders for temporary files must find the same socket.
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	mustGet(t, openDir(t, dir), "k", "v")

	// A folder that others can write to may have another user's socket.
	if err := os.Chmod(short, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), embeddedURL(dir), Options{}); err == nil || !strings.Contains(err.Error(), "other users") {
		t.Fatalf("got %v", err)
	}
	if err := os.Chmod(short, 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestTheFolderIsClosedToOtherUsers(t *testing.T) {
	parent := dataDir(t)
	mode := func(dir string) os.FileMode {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode().Perm()
	}
	made := filepath.Join(parent, "made", "for us")
	openDir(t, made)
	if m := mode(made); m != 0o700 {
		t.Errorf("a new folder has mode %o", m)
	}
	empty := filepath.Join(parent, "empty")
	if err := os.Mkdir(empty, 0o755); err != nil {
		t.Fatal(err)
	}
	openDir(t, empty)
	if m := mode(empty); m != 0o700 {
		t.Errorf("an empty folder has mode %o", m)
	}
	used := filepath.Join(parent, "used")
	if err := os.MkdirAll(filepath.Join(used, "something"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), embeddedURL(used), Options{})
	if err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("a folder that others use: %v", err)
	}
	if m := mode(used); m != 0o755 {
		t.Errorf("a folder that others use was changed to %o", m)
	}
}

func TestTheServerHasNeitherCallqsEnvironmentNorItsTerminal(t *testing.T) {
	t.Setenv("CALLQ_TEST_TOKEN", "hunter22")
	c := openDir(t, dataDir(t))
	pid := serverPid(t, c)
	group, err := syscall.Getpgid(pid)
	if err != nil || group == syscall.Getpgrp() {
		t.Errorf("the server is in callq's process group %d: Ctrl-C would end it (%v)", group, err)
	}
	if runtime.GOOS != "linux" {
		return
	}
	env, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil || bytes.Contains(env, []byte("hunter22")) {
		t.Errorf("the server has callq's environment (%v)", err)
	}
}

func TestEveryConfigurationFileHasItsOwnFolder(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", "/data")
	t.Chdir(t.TempDir())
	dir := func(path string) string {
		t.Helper()
		d, err := DefaultDir(path)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	here, err := filepath.Abs("callq.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if dir("callq.yaml") != dir(here) || dir("callq.yaml") == dir("other.yaml") {
		t.Error("the folder does not follow the absolute path")
	}
	if got := dir("callq.yaml"); filepath.Dir(got) != "/data/callq" {
		t.Errorf("got folder %s", got)
	}
	t.Setenv("XDG_DATA_HOME", "relative")
	t.Setenv("HOME", "/home/me")
	if got := dir("callq.yaml"); filepath.Dir(got) != "/home/me/.local/share/callq" {
		t.Errorf("got folder %s", got)
	}
}

func TestAClosedConnStartsNoServer(t *testing.T) {
	dir := dataDir(t)
	c := openDir(t, dir)
	if err := errors.Join(c.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if err := c.Client.Ping(t.Context()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Fatalf("got %v", err)
	}
	lock, err := tryLock(filepath.Join(dir, lockName), exclusive)
	if err != nil {
		t.Fatalf("the folder is still locked: %v", err)
	}
	_ = lock.Close()
}
