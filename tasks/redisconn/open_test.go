package redisconn

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

func TestARealServerIsReachedAndItsRefusalsAreExplained(t *testing.T) {
	s := startTCP(t, "--requirepass", "hunter22", "--user", "weak", "on", ">hunter22", "~none:*", "+ping", "+hello", "+client")
	c := open(t, "redis://:hunter22@"+s.addr+"/3", Options{Purpose: "test me"})
	set(t, c, "k", "v")
	if got := c.Describe(); got != "redis://"+s.addr+"/3" {
		t.Errorf("got description %s", got)
	}
	if db := c.Client.(*redis.Client).Options().DB; db != 3 {
		t.Errorf("got database %d", db)
	}
	if list := c.Client.ClientList(t.Context()).Val(); !strings.Contains(list, "name=callq:test-me:") {
		t.Errorf("the client has no name in %q", list)
	}
	refused(t, "redis://"+s.addr, redisinfo.KindAuth)
	refused(t, "redis://:wronghunter22@"+s.addr, redisinfo.KindAuth)
	refused(t, "redis://:hunter22@"+s.addr+"/99", redisinfo.KindDatabase)
	refused(t, "redis://127.0.0.1:1", redisinfo.KindUnreachable)
	refused(t, "redis://no-such-host.invalid", redisinfo.KindUnreachable)
	refused(t, "unix:///no/such/socket", redisinfo.KindUnreachable)
	refusedWithin(t, time.Second, "rediss://:hunter22@"+s.addr, redisinfo.KindTimeout) // Redis waits for a line end that TLS never sends

	weak := open(t, "redis://weak:hunter22@"+s.addr, Options{})
	var e *redisinfo.Error
	if err := weak.Explain(weak.Client.Set(t.Context(), "k", "v", 0).Err()); !errors.As(err, &e) || e.Kind != redisinfo.KindPermission {
		t.Errorf("got %v", err)
	}
	if err := c.Client.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if err := c.Explain(c.Client.Set(t.Context(), "k", "v", 0).Err()); !errors.As(err, &e) || e.Kind != redisinfo.KindMemory {
		t.Errorf("got %v", err)
	}
	_ = c.Close()
	if err := c.Explain(c.Client.Ping(t.Context()).Err()); !errors.As(err, &e) || e.Kind != redisinfo.KindClosed {
		t.Errorf("got %v", err)
	}
}

func TestAUnixSocketIsReached(t *testing.T) {
	s := redistest.Redis(t)
	c := open(t, s.URL, Options{PoolSize: 7})
	set(t, c, "k", "v")
	if got := s.Client.Get(t.Context(), "k").Val(); got != "v" {
		t.Errorf("got %q", got)
	}
	if n := c.Client.(*redis.Client).Options().PoolSize; n != 7 {
		t.Errorf("got pool size %d", n)
	}
}

func TestAServerThatMayEvictGetsAWarning(t *testing.T) {
	s := redistest.Redis(t)
	opened := func() string {
		var log bytes.Buffer
		open(t, s.URL, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		return log.String()
	}
	if log := opened(); log != "" {
		t.Errorf("got a warning about a good server: %s", log)
	}
	if err := errors.Join(s.Client.ConfigSet(t.Context(), "maxmemory-policy", "allkeys-lru").Err(), s.Client.ConfigSet(t.Context(), "maxmemory", "100mb").Err()); err != nil {
		t.Fatal(err)
	}
	if log := opened(); !strings.Contains(log, "allkeys-lru") || !strings.Contains(log, "noeviction") {
		t.Errorf("logged %q", log)
	}
	f, err := redisinfo.Inspect(t.Context(), s.Client)
	if err != nil || !f.AppendOnly || f.MaxMemory != 100<<20 || f.Version == "" || !f.MayEvict() || f.TooOld() {
		t.Errorf("got %+v, %v", f, err)
	}
}

func TestAUserWithoutINFOCanConnect(t *testing.T) {
	s := startTCP(t, "--user", "plain", "on", ">hunter22", "~*", "&*", "+@all", "-info")
	set(t, open(t, "redis://plain:hunter22@"+s.addr, Options{}), "k", "v")
}

func TestSentinelLeadsToTheMaster(t *testing.T) {
	t.Parallel()
	master := startTCP(t, "--requirepass", "hunter22")
	conf := filepath.Join(t.TempDir(), "sentinel.conf")
	_, port, _ := net.SplitHostPort(master.addr)
	text := fmt.Sprintf("sentinel monitor mymaster 127.0.0.1 %s 1\nsentinel auth-pass mymaster hunter22\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sentinel := startTCP(t, conf, "--sentinel", "--requirepass", "sentinelpass")
	url := "redis-sentinel://:hunter22@" + sentinel.addr + "/%s?db=2&sentinel_password=sentinelpass"
	c := open(t, fmt.Sprintf(url, "mymaster"), Options{})
	set(t, c, "k", "v")
	direct := open(t, "redis://:hunter22@"+master.addr+"/2", Options{})
	mustGet(t, direct, "k", "v")
	refused(t, fmt.Sprintf(url, "nobody"), redisinfo.KindUnreachable)
	refused(t, "redis-sentinel://:hunter22@127.0.0.1:1/mymaster", redisinfo.KindUnreachable)
}

// After a master's death go-redis does not read the Cluster's map again by itself;
// without clusterReload its calls fail for up to a minute.
func TestTheNewMasterOfAClusterIsFoundWithinSeconds(t *testing.T) {
	t.Parallel()
	node := func() (tcpServer, *redis.Client) {
		s := startTCP(t, "--cluster-enabled", "yes", "--cluster-port", freePort(t), "--cluster-node-timeout", "500", "--cluster-require-full-coverage", "no")
		client := redis.NewClient(&redis.Options{Addr: s.addr, ContextTimeoutEnabled: true})
		t.Cleanup(func() { _ = client.Close() })
		return s, client
	}
	do := func(client *redis.Client, args ...any) string {
		t.Helper()
		out, err := client.Do(t.Context(), args...).Text()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return out
	}
	a, master := node()
	b, replica := node()
	do(master, "CLUSTER", "ADDSLOTSRANGE", 0, 16383)
	bus := func(nodes string) string { // a line of CLUSTER NODES has host:port@busport
		_, rest, _ := strings.Cut(nodes, "@")
		p, _, _ := strings.Cut(rest, " ")
		p, _, _ = strings.Cut(p, ",")
		return p
	}
	_, portA, _ := net.SplitHostPort(a.addr)
	do(replica, "CLUSTER", "MEET", "127.0.0.1", portA, bus(do(master, "CLUSTER", "NODES")))
	id := do(master, "CLUSTER", "MYID")
	eventually(t, "the replica", func() bool { return replica.Do(t.Context(), "CLUSTER", "REPLICATE", id).Err() == nil })
	eventually(t, "a Cluster with its replica", func() bool {
		return strings.Contains(do(master, "CLUSTER", "NODES"), "slave") && strings.Contains(replica.Info(t.Context(), "replication").Val(), "master_link_status:up")
	})

	c := open(t, "redis-cluster://"+a.addr+","+b.addr, Options{})
	set(t, c, "k", "v")
	if _, ok := c.Client.(*redis.ClusterClient); !ok {
		t.Errorf("got client %T", c.Client)
	}
	eventually(t, "the replica's copy", func() bool { return replica.DBSize(t.Context()).Val() == 1 })
	a.kill()
	do(replica, "CLUSTER", "FAILOVER", "TAKEOVER")
	start := time.Now()
	eventually(t, "an answer of the new master", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return c.Client.Set(ctx, "k", "w", 0).Err() == nil
	})
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("finding the new master took %s", took)
	}

	plain := startTCP(t)
	refused(t, "redis-cluster://"+plain.addr, redisinfo.KindCluster)
}

func TestTLSFilesOfTheURLAreUsed(t *testing.T) {
	t.Parallel()
	ca, caKey := certificate(t, nil, nil, "callq test CA")
	server, serverKey := certificate(t, ca, caKey, "redis.test")
	client, clientKey := certificate(t, ca, caKey, "worker")
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := func(k *ecdsa.PrivateKey) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	caFile := file("ca.pem", "CERTIFICATE", ca.Raw)
	certFile, keyFile := file("cert.pem", "CERTIFICATE", client.Raw), file("key.pem", "PRIVATE KEY", key(clientKey))
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	m := miniredis.NewMiniRedis()
	if err := m.StartTLS(&tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{server.Raw}, PrivateKey: serverKey}},
		ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	base := "rediss://" + m.Addr() + "/0?"
	mutual := "&cert=" + certFile + "&key=" + keyFile
	set(t, open(t, base+"ca="+caFile+"&server_name=redis.test"+mutual, Options{}), "k", "v")
	refused(t, base+"ca="+caFile+mutual, redisinfo.KindTLS)             // the certificate is for another name
	refused(t, base+"server_name=redis.test"+mutual, redisinfo.KindTLS) // the CA is not the system's
	refused(t, base+"ca="+caFile+"&server_name=redis.test", redisinfo.KindTLS)
	refused(t, "redis://"+m.Addr(), redisinfo.KindLost)
	for _, q := range []string{"ca=/no/such/file", "ca=" + keyFile, "ca=" + caFile + "&cert=" + certFile + "&key=" + caFile} {
		if _, err := Open(t.Context(), base+q, Options{}); !errors.Is(err, ErrURL) {
			t.Errorf("%s: got %v", q, err)
		}
	}
}

// An old server without HELLO repeats in its error what it received: the password.
func TestAnOldServerThatRepeatsThePasswordIsNotQuoted(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				for buf := make([]byte, 4096); ; {
					if _, err := conn.Read(buf); err != nil {
						return
					}
					_, _ = io.WriteString(conn, "-ERR unknown command `AUTH`, with args beginning with: `hunter22`, \r\n")
				}
			}()
		}
	}()
	refused(t, "redis://:hunter22@"+l.Addr().String(), redisinfo.KindTooOld)
}

func TestTheLogOfGoRedisGoesToTheLogger(t *testing.T) {
	var log bytes.Buffer
	libraryLog{slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))}.Printf(t.Context(), "dial %d", 3)
	if !strings.Contains(log.String(), "dial 3") || !strings.Contains(log.String(), "DEBUG") {
		t.Errorf("logged %q", log.String())
	}
	log.Reset()
	libraryLog{slog.New(slog.NewTextHandler(&log, nil))}.Printf(t.Context(), "dial %d", 3)
	if log.Len() > 0 {
		t.Errorf("logged %q", log.String())
	}
}

func TestAServerThatIsNotARedisIsReportedAsSuch(t *testing.T) {
	plain, secret := httptest.NewServer(nil), httptest.NewUnstartedServer(nil)
	secret.Config.ErrorLog = log.New(io.Discard, "", 0)
	secret.StartTLS()
	defer plain.Close()
	defer secret.Close()
	refused(t, "redis://"+plain.Listener.Addr().String(), redisinfo.KindNotRedis)
	refused(t, "redis-cluster://"+plain.Listener.Addr().String(), redisinfo.KindNotRedis)
	refused(t, "redis-sentinel://"+plain.Listener.Addr().String()+"/master", redisinfo.KindUnreachable)
	refused(t, "rediss://"+plain.Listener.Addr().String(), redisinfo.KindTLS)
	refused(t, "redis://"+secret.Listener.Addr().String(), redisinfo.KindLost) // it ends the connection without an answer
}
