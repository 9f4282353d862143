package upstream

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

// resettingServer answers the first request of its first connection and resets that
// connection on the second request, as an idle connection breaks without an answer. It
// answers all requests of later connections. It records the requests for /counted.
type resettingServer struct {
	mu   sync.Mutex
	seen []*http.Request
}

func (a *resettingServer) start(t *testing.T) string {
	return "http://" + rawServer(t, func(conn *net.TCPConn, n int) {
		defer conn.Close()
		r := bufio.NewReader(conn)
		for i := 1; ; i++ {
			req, err := readRequest(r)
			if err != nil {
				return
			}
			if req.URL.Path == "/counted" {
				a.mu.Lock()
				a.seen = append(a.seen, req)
				a.mu.Unlock()
			}
			if n == 1 && i == 2 {
				reset(conn)
				return
			}
			if req.Method == "HEAD" {
				io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n")
				continue
			}
			io.WriteString(conn, okAnswer)
		}
	})
}

func (a *resettingServer) requests() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen
}

var resendCases = []struct {
	name   string
	method string
	body   string
	header http.Header
}{
	{"GET", "GET", "", nil},
	{"GET with a body", "GET", `{"q":1}`, nil},
	{"HEAD", "HEAD", "", nil},
	{"OPTIONS", "OPTIONS", "", nil},
	{"DELETE", "DELETE", "", nil},
	{"PUT with a body", "PUT", "x", nil},
	{"POST", "POST", "", nil},
	{"POST with a body", "POST", `{"q":1}`, nil},
	{"POST with a key", "POST", "", http.Header{"Idempotency-Key": {"k"}}},
	{"POST with a body and a key", "POST", "x", http.Header{"Idempotency-Key": {"k"}}},
	{"POST with the other key", "POST", "", http.Header{"X-Idempotency-Key": {"k"}}},
	{"PATCH with a key", "PATCH", "", http.Header{"Idempotency-Key": {"k"}}},
	{"DELETE with a key", "DELETE", "", http.Header{"Idempotency-Key": {"k"}}},
	{"GET with a key", "GET", "", http.Header{"Idempotency-Key": {"k"}}},
}

func TestOneCallIsOneRequestOnTheWire(t *testing.T) {
	for _, tt := range resendCases {
		t.Run(tt.name, func(t *testing.T) {
			var a resettingServer
			c := newClient(t, a.start(t))
			if got := c.Do(within(t), Request{Path: "/first"}); got.Err != nil {
				t.Fatal(got.Err)
			}
			got := c.Do(within(t), Request{Method: tt.method, Path: "/counted", Body: []byte(tt.body), Header: tt.header})
			if got.Outcome.Transport != policy.TransportResetAfterSend {
				t.Errorf("transport = %q, want reset_after_send (%v)", got.Outcome.Transport, got.Err)
			}
			seen := a.requests()
			if len(seen) != 1 {
				t.Fatalf("%d requests arrived, want 1", len(seen))
			}
			if len(seen[0].TransferEncoding) > 0 {
				t.Errorf("sent with transfer encoding %v", seen[0].TransferEncoding)
			}
			if n := seen[0].ContentLength; n != int64(len(tt.body)) {
				t.Errorf("content length %d, want %d", n, len(tt.body))
			}
			_, declared := seen[0].Header["Content-Length"]
			if want := tt.body != "" || tt.method == "POST" || tt.method == "PATCH"; declared != want {
				t.Errorf("Content-Length declared: %v, want %v", declared, want)
			}
			for name := range tt.header {
				if seen[0].Header.Get(name) != "k" {
					t.Errorf("%s did not arrive", name)
				}
			}
		})
	}
}

// newRequest works around this behaviour of net/http. If this test fails, net/http has
// changed, and the workaround can be removed.
func TestNetHTTPSendsSomeRequestsAgainByItself(t *testing.T) {
	for _, tt := range resendCases {
		replayable := tt.method == "GET" || tt.method == "HEAD" || tt.method == "OPTIONS" || tt.header != nil
		if !replayable {
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			var a resettingServer
			base := a.start(t)
			rt := &http.Transport{}
			defer rt.CloseIdleConnections()
			for _, path := range []string{"/first", "/counted"} {
				method, body := tt.method, io.Reader(bytes.NewReader([]byte(tt.body)))
				if path == "/first" {
					method, body = "GET", nil
				}
				req, _ := http.NewRequest(method, base+path, body)
				if path == "/counted" {
					req.Header = tt.header.Clone()
					if req.Header == nil {
						req.Header = http.Header{}
					}
				}
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			if n := len(a.requests()); n != 2 {
				t.Errorf("%d requests arrived, want 2: net/http sends the request again", n)
			}
		})
	}
}

func TestADeadIdleConnectionIsReplacedBeforeAnythingIsSent(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			var (
				mu        sync.Mutex
				paths     []string
				closeConn = make(chan struct{})
				address   = rawServer(t, func(conn *net.TCPConn, n int) {
					defer conn.Close()
					r := bufio.NewReader(conn)
					for {
						req, err := readRequest(r)
						if err != nil {
							return
						}
						mu.Lock()
						paths = append(paths, req.URL.Path)
						mu.Unlock()
						io.WriteString(conn, okAnswer)
						if n == 1 {
							<-closeConn
							return
						}
					}
				})
			)
			c := newClient(t, "http://"+address)
			if got := c.Do(within(t), Request{Path: "/first"}); got.Err != nil {
				t.Fatal(got.Err)
			}
			conns := 0
			ctx := httptrace.WithClientTrace(within(t), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				conns++
				if info.Reused {
					close(closeConn)
					await(t, "the client to detect the end of the connection", func() bool {
						return info.Conn.SetReadDeadline(noDeadline) != nil
					})
				}
			}})
			got := c.Do(ctx, Request{Method: method, Path: "/second", Body: []byte("body")})
			if got.Outcome.Status != 200 || conns != 2 {
				t.Errorf("status %d over %d connections (%v), want 200 over 2", got.Outcome.Status, conns, got.Err)
			}
			mu.Lock()
			defer mu.Unlock()
			if all := strings.Join(paths, " "); all != "/first /second" {
				t.Errorf("got requests for %s, want /first /second", all)
			}
		})
	}
}

func TestACallIsNotSentAfterItsContextHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	c := newClient(t, "http://127.0.0.1:1")
	got := c.Do(ctx, Request{Path: "/"})
	if !got.NotSent || !isCanceled(got.Err) {
		t.Errorf("got NotSent %v, error %v; want NotSent and context.Canceled", got.NotSent, got.Err)
	}
}

func TestACallThatIsCancelledWhileItWaitsForAConnectionIsNotSent(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan string, 2)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- r.URL.Path
		<-release
		io.WriteString(w, `{"status":true}`)
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Concurrency = 1 })
	first := make(chan Answer, 1)
	go func() { first <- c.Do(context.Background(), Request{Path: "/first"}) }()
	<-arrived

	ctx, cancel := context.WithCancel(context.Background())
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GetConn: func(string) { cancel() }})
	if got := c.Do(ctx, Request{Path: "/second"}); !got.NotSent || !isCanceled(got.Err) {
		t.Errorf("got NotSent %v, outcome %+v, error %v; want NotSent and context.Canceled", got.NotSent, got.Outcome, got.Err)
	}
	close(release)
	if got := <-first; got.Outcome.Status != 200 {
		t.Errorf("the first call: got %+v, want status 200", got)
	}
	if len(arrived) != 0 {
		t.Error("the second call arrived")
	}
}

func TestACallThatIsCancelledAfterTheSendStillReturnsTheAnswer(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		cancel()
		io.WriteString(w, `{"status":true}`)
	})
	c := newClient(t, s.URL)
	if got := c.Do(ctx, Request{Method: "POST", Path: "/"}); got.NotSent || got.Outcome.Status != 200 {
		t.Errorf("got %+v, want status 200", got)
	}
}
