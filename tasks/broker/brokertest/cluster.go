package brokertest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/tasks/broker/internal/redisproc"
)

const (
	masters = 3
	slots   = 16384
)

// ClusterServer is a real Redis or Valkey Cluster of three masters without
// replicas, which belongs to one test and ends with it. The slots are shared out
// in three equal parts, so that of the queues patsnap, patsnap:low and
// patsnap:high each lives on a master of its own.
type ClusterServer struct {
	// Client talks to the Cluster.
	Client *redis.ClusterClient
	// URL is for who opens the Cluster by itself: redis-cluster://h:p,h:p,h:p.
	URL string
	// Addrs are the masters, HOST:PORT, in the order of their slots.
	Addrs []string
}

// node is one master.
type node struct {
	dir, socket, addr string
	process           *redisproc.Process
	client            *redis.Client
}

// Cluster starts an empty Cluster on free ports of the loopback address. See
// [Binary] for when there is no server to start.
func Cluster(t testing.TB) *ClusterServer {
	t.Helper()
	binary := Binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	c := &ClusterServer{}
	nodes := make([]*node, masters)
	for i := range nodes {
		nodes[i] = startNode(ctx, t, binary)
		c.Addrs = append(c.Addrs, nodes[i].addr)
	}
	if err := join(ctx, nodes); err != nil {
		t.Fatalf("form a Cluster: %v", err)
	}
	c.URL = "redis-cluster://" + strings.Join(c.Addrs, ",")
	c.Client = redis.NewClusterClient(&redis.ClusterOptions{
		Addrs: c.Addrs, ContextTimeoutEnabled: true, DisableIdentity: true, ClusterStateReloadInterval: time.Second,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Client.Close() })
	return c
}

// startNode starts one master that knows of no other yet.
func startNode(ctx context.Context, t testing.TB, binary string) *node {
	t.Helper()
	// Not t.TempDir: with the test's name in it the path can be too long for a socket.
	dir, err := os.MkdirTemp("", "callq")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{dir: dir, socket: filepath.Join(dir, "s")}
	t.Cleanup(func() {
		if n.client != nil {
			_ = n.client.Close()
		}
		if n.process != nil {
			n.process.Kill()
		}
		_ = os.RemoveAll(dir)
	})
	// Somebody may take a free port before the server does.
	for range 5 {
		if err = n.start(ctx, binary); err == nil {
			return n
		}
	}
	t.Fatalf("start %s for a Cluster: %v", binary, err)
	return nil
}

func (n *node) start(ctx context.Context, binary string) error {
	port, bus, err := freePorts()
	if err != nil {
		return err
	}
	output, err := os.Create(filepath.Join(n.dir, "log"))
	if err != nil {
		return err
	}
	defer output.Close()
	cmd := exec.Command(binary, "--bind", "127.0.0.1", "--port", port, "--unixsocket", n.socket, "--dir", n.dir,
		"--cluster-enabled", "yes", "--cluster-port", bus, "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
		"--maxmemory-policy", "noeviction", "--daemonize", "no")
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
	n.process, n.addr = process, net.JoinHostPort("127.0.0.1", port)
	n.client = redis.NewClient(options(&redis.Options{Network: "unix", Addr: n.socket}))
	return conn.Close()
}

// freePorts finds a port for clients and one for the other nodes.
func freePorts() (port, bus string, err error) {
	ports := make([]string, 2)
	for i := range ports {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return "", "", err
		}
		defer l.Close()
		if _, ports[i], err = net.SplitHostPort(l.Addr().String()); err != nil {
			return "", "", err
		}
	}
	return ports[0], ports[1], nil
}

// join makes the nodes know each other, shares the slots out, and returns when
// all of them see the whole Cluster.
func join(ctx context.Context, nodes []*node) error {
	for i, n := range nodes {
		first, last := i*slots/masters, (i+1)*slots/masters-1
		err := errors.Join(
			// Equal epochs would have to be settled by votes first.
			n.client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err(),
			n.client.ClusterAddSlotsRange(ctx, first, last).Err(),
		)
		if err != nil {
			return err
		}
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n == other {
				continue
			}
			if err := n.meet(ctx, other); err != nil {
				return err
			}
		}
	}
	for _, n := range nodes {
		for {
			info, err := n.client.ClusterInfo(ctx).Result()
			if err == nil && whole(info) {
				break
			}
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
				return fmt.Errorf("%w: %s sees %q, %w", ctx.Err(), n.addr, info, err)
			}
		}
	}
	return nil
}

func (n *node) meet(ctx context.Context, other *node) error {
	host, port, err := net.SplitHostPort(other.addr)
	if err != nil {
		return err
	}
	bus, err := other.client.ConfigGet(ctx, "cluster-port").Result()
	if err != nil {
		return err
	}
	return n.client.Do(ctx, "CLUSTER", "MEET", host, port, bus["cluster-port"]).Err()
}

// whole tells whether CLUSTER INFO is that of a Cluster that serves all slots.
func whole(info string) bool {
	for _, want := range []string{"cluster_state:ok", fmt.Sprintf("cluster_slots_ok:%d", slots), fmt.Sprintf("cluster_size:%d", masters)} {
		if !strings.Contains(info, want+"\r\n") {
			return false
		}
	}
	return true
}
