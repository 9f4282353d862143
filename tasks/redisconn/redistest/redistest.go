// Package redistest gives tests a Redis: a real one in a process of its own, or
// miniredis inside the test. It is for the tests of this module.
package redistest

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/minipipe"
	"github.com/seed-2903acc3/callq/tasks/redisconn/internal/redisproc"
)

// patience is how long a server may take to answer on a busy machine.
const patience = 30 * time.Second

// Server is a real Redis or Valkey that belongs to one test and ends with it.
type Server struct {
	// Client talks to the server, also after [Server.Restart].
	Client *redis.Client
	// URL is for programs that open the server themselves.
	URL string
	// Socket is the path of its unix socket.
	Socket string

	t       testing.TB
	binary  string
	environ []string
	dir     string
	process *redisproc.Process
}

// Binary returns the path of the server program that [Redis] starts. If there is none
// on PATH the test is skipped, or fails if CALLQ_REQUIRE_REDIS is 1.
func Binary(t testing.TB) string {
	t.Helper()
	for _, b := range redisproc.Find() {
		if !b.TooOld() {
			return b.Path
		}
	}
	skip(t, "no valkey-server or redis-server of version 7.0 or newer on PATH")
	return ""
}

// skip skips a test because a program is missing, or fails it if CALLQ_REQUIRE_REDIS is
// 1.
func skip(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CALLQ_REQUIRE_REDIS") == "1" {
		t.Fatal(missing + ", and CALLQ_REQUIRE_REDIS is 1")
	}
	t.Skip(missing)
}

// Redis starts an empty server with an append-only file. See [Binary] for the case that
// there is none to start.
func Redis(t testing.TB) *Server {
	t.Helper()
	return startServer(t, nil)
}

func startServer(t testing.TB, environ []string) *Server {
	t.Helper()
	s := &Server{t: t, binary: Binary(t), environ: environ}
	// Not t.TempDir: with the test's name in it the path can be too long for a socket.
	dir, err := os.MkdirTemp("", "callq")
	if err != nil {
		t.Fatal(err)
	}
	s.dir, s.Socket = dir, filepath.Join(dir, "s")
	s.URL = (&url.URL{Scheme: "unix", Path: s.Socket, RawQuery: "db=0"}).String()
	s.Client = redis.NewClient(options(&redis.Options{Network: "unix", Addr: s.Socket}))
	t.Cleanup(func() {
		_ = s.Client.Close()
		s.Kill()
		_ = os.RemoveAll(dir)
	})
	s.start()
	return s
}

func options(o *redis.Options) *redis.Options {
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return o
}

func (s *Server) start() {
	s.t.Helper()
	output, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer output.Close()
	s.process, err = redisproc.Start(redisproc.Spec{
		Binary: s.binary, Dir: s.dir, Socket: s.Socket, Output: output, Environ: s.environ,
	})
	if err != nil {
		s.t.Fatalf("start %s: %v", s.binary, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := redisproc.Await(ctx, s.Socket, s.process)
	if err != nil {
		log, _ := os.ReadFile(output.Name())
		s.t.Fatalf("wait for %s: %v\n%s", s.binary, err, log)
	}
	_ = conn.Close()
}

// Pid is the server's process id. It must not be called for a server that was killed.
func (s *Server) Pid() int { return s.process.Pid() }

// Kill ends the server at once, as a crash would. Its acknowledged writes are in its
// file, unless its disk is slow. A second Kill does nothing.
func (s *Server) Kill() {
	if s.process == nil {
		return
	}
	s.process.Kill()
	s.process = nil
}

// Restart starts the server again with the data in its file. It kills the server first
// if that runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	s.start()
}

// Mini returns an empty Redis inside the test, without a port, which may also run in a
// testing/synctest bubble. Keys expire by the clock. It ends with the test.
func Mini(t testing.TB) (*redis.Client, *miniredis.Miniredis) {
	t.Helper()
	m := miniredis.NewMiniRedis()
	dial, err := minipipe.Dialer(m)
	if err != nil {
		t.Fatal(err)
	}
	m.ClockTTL(true)
	// Under the race detector, on a busy machine, a large script takes seconds in
	// miniredis.
	const patience = 30 * time.Second
	client := redis.NewClient(options(&redis.Options{Addr: "in-process", Dialer: dial, ReadTimeout: patience, WriteTimeout: patience}))
	t.Cleanup(func() {
		_ = client.Close()
		m.Close()
	})
	return client, m
}

// OnlyRedis reports whether tests that run with miniredis and with a real Redis leave
// miniredis out: see [Each].
func OnlyRedis() bool { return os.Getenv("CALLQ_ONLY_REDIS") == "1" }

// LongInMini skips a test that needs miniredis, runs long in it, and has one goroutine at a
// time, if CALLQ_ONLY_REDIS is 1: see [Each].
func LongInMini(t *testing.T) {
	t.Helper()
	if OnlyRedis() {
		t.Skip("CALLQ_ONLY_REDIS is 1")
	}
}

// Each runs a test with miniredis and with a real Redis, each empty. It leaves miniredis
// out if CALLQ_ONLY_REDIS is 1, as CI does in the run with the race detector: the run
// without a Redis has proved it with miniredis.
func Each(t *testing.T, test func(t *testing.T, client *redis.Client)) {
	t.Helper()
	if !OnlyRedis() {
		t.Run("miniredis", func(t *testing.T) {
			client, _ := Mini(t)
			test(t, client)
		})
	}
	t.Run("redis", func(t *testing.T) {
		test(t, Redis(t).Client)
	})
}
