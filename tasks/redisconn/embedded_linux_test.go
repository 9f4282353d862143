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

// onAThreadThatEnds runs f and returns the id of the thread that it ran on.
func onAThreadThatEnds(f func()) int {
	ran := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		if syscall.Gettid() != syscall.Getpid() {
			f()
			ran <- syscall.Gettid()
			return
		}
		// The main thread never ends. While it is held here, f gets another.
		ran <- onAThreadThatEnds(f)
		runtime.UnlockOSThread()
	}()
	return <-ran
}

// The parent-death signal follows the thread that forked: started on a
// thread that ends, the server would be told to end with it.
func TestTheServerOutlivesTheThreadThatAskedForIt(t *testing.T) {
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
	// A server that was told to end does so at its next tick, a tenth of a second.
	for range 6 {
		conn, err := redisproc.Dial(t.Context(), filepath.Join(dir, socketName))
		if err != nil {
			t.Fatalf("the server ended with the thread: %v", err)
		}
		// One blocking read of 20 ms: time passes in the server too.
		_, _ = redisproc.Ask(t.Context(), conn, "BLPOP", "nothing", "0.02")
		_ = conn.Close()
	}
	if gone(pid) {
		t.Fatal("the server ended with the thread")
	}
}

func TestAKilledOwnerTakesItsServerAlongAndAJoinerGoesOn(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	owner := startChild(t, dir)
	_, pid := owner.answer()
	joiner := startChild(t, dir)
	if _, joined := joiner.answer(); joined != pid {
		t.Fatalf("the joiner has server %d, the owner %d", joined, pid)
	}
	owner.incr()
	owner.kill()
	// 3 when the answer died with the server and the joiner had to ask again.
	if n, _ := joiner.incr(); n != "2" && n != "3" {
		t.Fatalf("counted %s", n)
	}
	eventually(t, "the end of the killed owner's server", func() bool { return gone(pid) })
	if _, now := joiner.incr(); now == pid {
		t.Fatal("the dead server answers")
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

func TestAFolderThatCannotBeMadeIsToldWithWhatElseToConfigure(t *testing.T) {
	redistest.Binary(t) // where there is no server, no folder is made
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// In neither can even root make one.
	for dir, why := range map[string]string{"/proc/nowhere/callq": "make the folder of the embedded Redis: mkdir /proc/nowhere: ", file + "/callq": "not a directory"} {
		_, err := Open(t.Context(), embeddedURL(dir), Options{})
		var e *redisinfo.Error
		if !errors.As(err, &e) || e.Kind != redisinfo.KindEmbedded || !strings.Contains(err.Error(), why) || !strings.HasSuffix(err.Error(), adviceFolder) {
			t.Errorf("%s: got %v", dir, err)
		}
	}
}
