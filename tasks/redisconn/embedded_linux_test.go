package redisconn

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

// onAThreadThatEnds runs f on a thread that ends after that, and returns the thread's
// id.
func onAThreadThatEnds(f func()) int {
	ran := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		if syscall.Gettid() != syscall.Getpid() {
			f()
			ran <- syscall.Gettid()
			return
		}
		// The main thread never ends. While it is occupied here, f gets another one.
		ran <- onAThreadThatEnds(f)
		runtime.UnlockOSThread()
	}()
	return <-ran
}

// The parent-death signal is tied to the thread that forked: if the server were started
// on a thread that ends, it would be asked to end with it.
func TestTheServerOutlivesTheThreadThatStartedIt(t *testing.T) {
	dir := dataDir(t)
	e := &embedded{dir: dir, log: slog.New(slog.DiscardHandler)}
	t.Cleanup(e.close)
	var pid int
	var err error
	thread := onAThreadThatEnds(func() {
		var conn net.Conn
		if conn, err = e.dial(t.Context(), "", ""); err == nil {
			_ = conn.Close()
			pid = e.child.Pid()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	task := filepath.Join("/proc/self/task", strconv.Itoa(thread))
	eventually(t, "the end of the thread", func() bool {
		_, err := os.Stat(task)
		return err != nil
	})
	// A server that was asked to end does so at its next tick, a tenth of a second
	// later.
	for range 6 {
		conn, err := redisproc.Dial(t.Context(), filepath.Join(dir, socketName))
		if err != nil {
			t.Fatalf("the server ended with the thread: %v", err)
		}
		// One blocking read of 20 ms, so that the server's ticks go on.
		_, _ = redisproc.Ask(t.Context(), conn, "BLPOP", "nothing", "0.02")
		_ = conn.Close()
	}
	if gone(pid) {
		t.Fatal("the server ended with the thread")
	}
}

func TestTheServerOfAKilledOwnerEndsAndAJoinerGoesOn(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	owner := startChild(t, dir)
	_, pid := owner.answer()
	joiner := startChild(t, dir)
	if _, joined := joiner.answer(); joined != pid {
		t.Fatalf("got the joiner's server %d, want the owner's %d", joined, pid)
	}
	owner.incr()
	owner.kill()
	// It is 3 if the answer died with the server and the joiner had to ask again.
	if n, _ := joiner.incr(); n != "2" && n != "3" {
		t.Fatalf("got count %s", n)
	}
	eventually(t, "the end of the killed owner's server", func() bool { return gone(pid) })
	if _, now := joiner.incr(); now == pid {
		t.Fatal("got the process id of the dead server")
	}
	joiner.finish()
}

func TestAKilledOwnerLeavesNoServerBehind(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	owner := startChild(t, dir)
	_, pid := owner.answer()
	owner.kill()
	eventually(t, "the end of the server", func() bool { return gone(pid) })
}

func TestTheErrorForAFolderThatCannotBeCreatedSaysWhatToConfigure(t *testing.T) {
	redistest.Binary(t) // without a server program no folder is created
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// Not even root can create these.
	for dir, why := range map[string]string{"/proc/nowhere/callq": "create the folder of the embedded Redis: mkdir /proc/nowhere: ", file + "/callq": "not a directory"} {
		_, err := Open(t.Context(), embeddedURL(dir), Options{})
		var e *redisinfo.Error
		if !errors.As(err, &e) || e.Kind != redisinfo.KindEmbedded || !strings.Contains(err.Error(), why) || !strings.HasSuffix(err.Error(), adviceFolder) {
			t.Errorf("%s: got %v", dir, err)
		}
	}
}
