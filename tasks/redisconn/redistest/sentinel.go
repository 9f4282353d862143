package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
)

const (
	sentinels = 3
	// masterName is the Sentinels' name for their master.
	masterName = "callq"
	// downAfter is how long the Sentinels wait for a master before they consider it
	// dead.
	downAfter = "2000"
)

// SentinelServer is a master and a replica with three Sentinels, which belong to one
// test and end with it.
type SentinelServer struct {
	// Client connects to the present master.
	Client *redis.Client
	// URL is for programs that open the master themselves:
	// redis-sentinel://h:p,h:p,h:p/callq?db=0.
	URL string
	// Master and Replica are the two servers in their first roles.
	Master, Replica *Node
}

// Sentinel starts an empty pair and its Sentinels. See [Binary] for the case that there
// is no server to start.
func Sentinel(t testing.TB) *SentinelServer {
	t.Helper()
	binary := Binary(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	s := &SentinelServer{Master: startNode(ctx, t, binary, alone)}
	host, port, err := net.SplitHostPort(s.Master.Addr)
	if err != nil {
		t.Fatal(err)
	}
	s.Replica = startNode(ctx, t, binary, func() ([]string, error) { return []string{"--replicaof", host, port}, nil })
	if err := retry(ctx, func() error { return s.Replica.following(ctx) }); err != nil {
		t.Fatal(err)
	}
	var addrs []string
	for range sentinels {
		addrs = append(addrs, startSentinel(ctx, t, binary, host, port))
	}
	for _, addr := range addrs {
		if err := retry(ctx, func() error { return foundAll(ctx, addr) }); err != nil {
			t.Fatal(err)
		}
	}
	s.URL = "redis-sentinel://" + strings.Join(addrs, ",") + "/" + masterName + "?db=0"
	s.Client = redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: masterName, SentinelAddrs: addrs, ContextTimeoutEnabled: true, DisableIdentity: true,
	})
	t.Cleanup(func() { _ = s.Client.Close() })
	return s
}

// startSentinel starts one Sentinel and returns its address.
func startSentinel(ctx context.Context, t testing.TB, binary, host, port string) string {
	t.Helper()
	var err error
	// Another process may take a free port before the Sentinel does.
	for range 5 {
		var own string
		if own, err = freePort(); err != nil {
			continue
		}
		// The Sentinel writes its state into its configuration file.
		file := filepath.Join(t.TempDir(), "sentinel.conf")
		config := fmt.Sprintf("bind 127.0.0.1\nport %s\nsentinel monitor %s %s %s %d\nsentinel down-after-milliseconds %s %s\nsentinel failover-timeout %s 10000\n",
			own, masterName, host, port, sentinels/2+1, masterName, downAfter, masterName)
		if err = os.WriteFile(file, []byte(config), 0o600); err != nil {
			continue
		}
		cmd := exec.Command(binary, file, "--sentinel")
		cmd.Dir = filepath.Dir(file)
		var process *redisproc.Process
		if process, err = redisproc.Run(cmd); err != nil {
			continue
		}
		t.Cleanup(process.Kill)
		addr := net.JoinHostPort("127.0.0.1", own)
		wait, cancel := context.WithCancel(ctx)
		go func() {
			select {
			case <-process.Done():
			case <-wait.Done():
			}
			cancel()
		}()
		err = retry(wait, func() error {
			return asSentinel(addr, func(c *redis.SentinelClient) error { return c.Ping(wait).Err() })
		})
		cancel()
		if err == nil {
			return addr
		}
	}
	t.Fatalf("start a Sentinel: %v", err)
	return ""
}

// foundAll returns nil when a Sentinel has found the replica and the other Sentinels, so
// that they can agree on a failover.
func foundAll(ctx context.Context, addr string) error {
	return asSentinel(addr, func(c *redis.SentinelClient) error {
		m, err := c.Master(ctx, masterName).Result()
		if err == nil && (m["num-slaves"] != "1" || m["num-other-sentinels"] != fmt.Sprint(sentinels-1)) {
			err = fmt.Errorf("the Sentinel at %s has found %s replicas and %s other Sentinels", addr, m["num-slaves"], m["num-other-sentinels"])
		}
		return err
	})
}

func asSentinel(addr string, do func(*redis.SentinelClient) error) error {
	c := redis.NewSentinelClient(&redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	defer c.Close()
	return do(c)
}
