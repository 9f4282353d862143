//go:build unix

package redisconn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const childVariable = "CALLQ_TEST_EMBEDDED_DIR"

// TestChildProcess is another callq: the tests below run this test binary again with a
// data folder in the environment. For every line that it reads it increments the
// counter and answers with the counter and the server's process id; when its input ends
// it closes the connection as a finished callq would.
func TestChildProcess(t *testing.T) {
	dir := os.Getenv(childVariable)
	if dir == "" {
		t.Skip("this test is the child process of other tests")
	}
	c := openDir(t, dir)
	fmt.Println("answer ready", serverPid(t, c))
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, err := c.Client.Incr(context.Background(), "n").Result()
		if err != nil {
			t.Fatal(c.Explain(err))
		}
		fmt.Println("answer", n, serverPid(t, c))
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startChild(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildProcess$", "-test.v")
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(c.kill)
	return c
}

// answer reads the child's next answer: a word or count, and the server's process id.
func (c *child) answer() (string, int) {
	c.t.Helper()
	var seen []string
	for c.out.Scan() {
		f := strings.Fields(c.out.Text())
		if len(f) == 3 && f[0] == "answer" {
			pid, err := strconv.Atoi(f[2])
			if err != nil {
				c.t.Fatal(err)
			}
			return f[1], pid
		}
		seen = append(seen, c.out.Text())
	}
	c.t.Fatalf("the child ended: %s", strings.Join(seen, "\n"))
	return "", 0
}

func (c *child) incr() (string, int) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, "incr\n"); err != nil {
		c.t.Fatal(err)
	}
	return c.answer()
}

// finish makes the child end by itself.
func (c *child) finish() {
	c.t.Helper()
	_ = c.in.Close()
	for c.out.Scan() {
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Errorf("the child failed: %v", err)
	}
}

func (c *child) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

func TestProcessesThatStartAtOnceShareOneServer(t *testing.T) {
	t.Parallel()
	dir := dataDir(t)
	var children []*child
	for range 4 {
		children = append(children, startChild(t, dir))
	}
	servers := map[int]bool{}
	for _, c := range children {
		_, pid := c.answer()
		servers[pid] = true
	}
	if len(servers) != 1 {
		t.Fatalf("got %d servers: %v", len(servers), servers)
	}
	// The processes end one by one. The server ends with its owner, and the others go
	// on.
	want := 0
	for i, c := range children {
		for _, rest := range children[i:] {
			want++
			if n, _ := rest.incr(); n != strconv.Itoa(want) {
				t.Fatalf("got count %s, want %d", n, want)
			}
		}
		c.finish()
	}
	mustGet(t, openDir(t, dir), "n", strconv.Itoa(want))
}

// Alone must not be called while another process works, and no process may open the
// folder during the call.
func TestAloneIsCalledOnlyIfNoOtherProcessHasTheFolderOpen(t *testing.T) {
	dir := dataDir(t)
	openAs := func(alone func(context.Context, redis.UniversalClient) error) (*Conn, error) {
		return Open(t.Context(), embeddedURL(dir), Options{Alone: alone})
	}
	asked := 0
	count := func(ctx context.Context, rdb redis.UniversalClient) error {
		asked++
		return rdb.Ping(ctx).Err()
	}
	first, err := openAs(count)
	if err != nil || asked != 1 {
		t.Fatalf("first opening: got %d calls of Alone, %v", asked, err)
	}
	child := startChild(t, dir)
	child.answer()
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	// The server has ended, the other process is alive.
	second, err := openAs(count)
	if err != nil || asked != 1 {
		t.Fatalf("with another process: got %d calls of Alone, %v", asked, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	child.incr() // it starts the server again
	child.kill()
	if _, err := openAs(func(context.Context, redis.UniversalClient) error { return errors.New("refused") }); err == nil || asked != 1 {
		t.Fatalf("got error %v", err)
	}

	// A process that opens the folder meanwhile waits.
	entered, leave, others := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	var inside atomic.Bool
	go func() {
		c, err := openAs(func(context.Context, redis.UniversalClient) error {
			inside.Store(true)
			close(entered)
			<-leave
			inside.Store(false)
			return nil
		})
		if err == nil {
			defer c.Close()
		}
		others <- err
	}()
	<-entered
	time.AfterFunc(50*time.Millisecond, func() { close(leave) })
	third, err := openAs(nil)
	if err != nil || inside.Load() {
		t.Errorf("opened during another process's call of Alone: %t, %v", inside.Load(), err)
	}
	if err := errors.Join(<-others, third.Close()); err != nil {
		t.Error(err)
	}
}
