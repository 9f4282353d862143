package upstream

import (
	"bufio"
	"context"
	"github.com/seed-2903acc3/callq/policy"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newClient returns a client for the base URL. change may modify its config.
func newClient(t testing.TB, base string, change ...func(*Config)) *Client {
	t.Helper()
	pol, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Name: "api", BaseURL: base, Timeout: 10 * time.Second, Policy: pol}
	for _, f := range change {
		f(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func serve(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// rawServer calls handle for every connection, with its number from 1. At the end of the
// test it closes the open connections.
func rawServer(t testing.TB, handle func(conn *net.TCPConn, n int)) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for n := 1; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, conn)
			mu.Unlock()
			wg.Go(func() { handle(conn.(*net.TCPConn), n) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, c := range conns {
			c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// reset closes conn with a TCP reset.
func reset(conn *net.TCPConn) {
	conn.SetLinger(0)
	conn.Close()
}

// readRequest reads one complete request from r.
func readRequest(r *bufio.Reader) (*http.Request, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	for err == nil {
		_, err = req.Body.Read(buf)
	}
	return req, nil
}

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"status\":true}"

// within returns a context that limits how long a test waits.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// await polls until done returns true, for at most 10 s.
func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("waited too long for %s", what)
			return
		}
	}
}

// quiet discards the messages of net/http's server about broken handshakes.
var quiet = log.New(io.Discard, "", 0)

var quietLog = slog.New(slog.DiscardHandler)
