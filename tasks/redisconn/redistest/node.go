package redistest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
)

// Node is a real Redis or Valkey on a TCP port of the loopback address, which
// belongs to one test and ends with it.
type Node struct {
	// Addr is HOST:PORT; URL is the same for programs that open the server themselves.
	Addr, URL string
	// Client connects to the server by its unix socket and not by the port.
	Client *redis.Client

	dir, socket string
	process     *redisproc.Process
}

// TCP starts an empty server with an append-only file on a free port. See [Binary] for
// the case that there is none to start.
func TCP(t testing.TB) *Node {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	return startNode(ctx, t, Binary(t), alone)
}

// alone returns the options of a server that is not part of a Cluster.
func alone() ([]string, error) { return nil, nil }

// startNode starts a server with options in addition to the common ones.
func startNode(ctx context.Context, t testing.TB, binary string, more func() ([]string, error)) *Node {
	t.Helper()
	// Not t.TempDir: with the test's name in it the path can be too long for a socket.
	dir, err := os.MkdirTemp("", "callq")
	if err != nil {
		t.Fatal(err)
	}
	n := &Node{dir: dir, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		if n.Client != nil {
			_ = n.Client.Close()
		}
		n.Kill()
		_ = os.RemoveAll(dir)
	})
	// Another process may take a free port before the server does.
	for range 5 {
		var args []string
		if args, err = more(); err == nil {
			if err = n.start(ctx, binary, args); err == nil {
				return n
			}
		}
	}
	t.Fatalf("start %s: %v", binary, err)
	return nil
}

func (n *Node) start(ctx context.Context, binary string, more []string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(n.dir, "log"))
	if err != nil {
		return err
	}
	defer output.Close()
	args := []string{
		"--bind", "127.0.0.1", "--port", port, "--unixsocket", n.socket, "--dir", n.dir, "--appendonly", "yes",
		"--appendfsync", "everysec", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
	}
	cmd := exec.Command(binary, append(args, more...)...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = n.dir, output, output
	process, err := redisproc.Run(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := redisproc.Await(ctx, n.socket, process)
	if err != nil {
		process.Kill()
		log, _ := os.ReadFile(output.Name())
		return fmt.Errorf("%w\n%s", err, log)
	}
	n.process, n.Addr = process, net.JoinHostPort("127.0.0.1", port)
	n.URL = (&url.URL{Scheme: "redis", Host: n.Addr, Path: "/0"}).String()
	n.Client = redis.NewClient(options(&redis.Options{Network: "unix", Addr: n.socket}))
	return conn.Close()
}

// Kill ends the server at once, as a crash would. A second Kill does nothing.
func (n *Node) Kill() {
	if n.process == nil {
		return
	}
	n.process.Kill()
	n.process = nil
}

// KillInSync kills a master at a moment when its replica has all the writes that the
// master has acknowledged. Replication is asynchronous: at any other moment the last
// writes before a master's death may be lost.
func (n *Node) KillInSync(ctx context.Context) error {
	// Writers wait, and get no answer any more.
	if err := n.Client.Do(ctx, "CLIENT", "PAUSE", patience.Milliseconds(), "WRITE").Err(); err != nil {
		return err
	}
	if err := retry(ctx, func() error { return n.inSync(ctx) }); err != nil {
		return err
	}
	n.Kill()
	return nil
}

// inSync returns nil when a replica has all the writes of this master.
func (n *Node) inSync(ctx context.Context) error {
	info, err := n.replication(ctx)
	if err != nil {
		return err
	}
	if offset := info["master_repl_offset"]; !strings.Contains(info["slave0"], "state=online,offset="+offset+",") {
		return fmt.Errorf("the master is at %s, its replica at %s", offset, info["slave0"])
	}
	return nil
}

// following returns nil when this replica has its master's data and is connected to it.
func (n *Node) following(ctx context.Context) error {
	info, err := n.replication(ctx)
	if err == nil && info["master_link_status"] != "up" {
		err = fmt.Errorf("%s does not follow its master: %v", n.Addr, info)
	}
	return err
}

func (n *Node) replication(ctx context.Context) (map[string]string, error) {
	text, err := n.Client.Info(ctx, "replication").Result()
	fields := map[string]string{}
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields[name] = value
	}
	return fields, err
}

// retry calls try until it succeeds or ctx ends.
func retry(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// freePort returns a port on which no process listens.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}
