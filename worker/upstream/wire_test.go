package upstream

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

var noDeadline time.Time

func isCanceled(err error) bool { return errors.Is(err, context.Canceled) }

// answering returns a server that reads one request and writes text.
func answering(t *testing.T, text string, then func(*net.TCPConn)) string {
	return "http://" + rawServer(t, func(conn *net.TCPConn, _ int) {
		defer conn.Close()
		if _, err := readRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		io.WriteString(conn, text)
		if then != nil {
			then(conn)
		}
	})
}

// hang keeps a connection open until the client closes it.
func hang(conn *net.TCPConn) { io.Copy(io.Discard, conn) }

func answerOK(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"status":true}`) }

func tlsServer(t *testing.T, h http.HandlerFunc, protocols ...string) (s *httptest.Server, caFile string) {
	s = httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quiet
	s.TLS = &tls.Config{NextProtos: protocols}
	s.StartTLS()
	t.Cleanup(s.Close)
	caFile = filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(caFile, block, 0o600); err != nil {
		t.Fatal(err)
	}
	return s, caFile
}

func TestEachKindOfFailureHasItsTransport(t *testing.T) {
	short := func(cfg *Config) { cfg.Timeout = 150 * time.Millisecond }
	tests := []struct {
		name   string
		base   func(t *testing.T) string
		change func(*Config)
		want   policy.Transport
	}{
		{"a name that cannot be", func(*testing.T) string { return "http://a..b" }, nil, policy.TransportDNS},
		{"nothing listens", func(t *testing.T) string {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			return "http://" + l.Addr().String()
		}, nil, policy.TransportDial},
		{"an unknown authority", func(t *testing.T) string {
			s, _ := tlsServer(t, answerOK)
			return s.URL
		}, nil, policy.TransportTLS},
		{"no TLS at all", func(t *testing.T) string {
			return "https://" + rawServer(t, func(conn *net.TCPConn, _ int) {
				io.WriteString(conn, "HTTP/1.1 400 Bad Request\r\n\r\n")
				hang(conn)
			})
		}, nil, policy.TransportTLS},
		{"reset in the handshake", func(t *testing.T) string {
			return "https://" + rawServer(t, func(conn *net.TCPConn, _ int) {
				conn.Read(make([]byte, 1))
				reset(conn)
			})
		}, nil, policy.TransportResetBeforeSend},
		{"silence in the handshake", func(t *testing.T) string {
			return "https://" + rawServer(t, func(conn *net.TCPConn, _ int) { hang(conn) })
		}, short, policy.TransportTimeoutBeforeSend},
		{"reset instead of an answer", func(t *testing.T) string {
			return answering(t, "", reset)
		}, nil, policy.TransportResetAfterSend},
		{"close instead of an answer", func(t *testing.T) string {
			return answering(t, "", nil)
		}, nil, policy.TransportResetAfterSend},
		{"close within the header", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\nContent-", nil)
		}, nil, policy.TransportResetAfterSend},
		{"an answer that is not HTTP", func(t *testing.T) string {
			return answering(t, "SSH-2.0-OpenSSH_9.2\r\n", hang)
		}, nil, policy.TransportResetAfterSend},
		{"no answer", func(t *testing.T) string {
			return answering(t, "", hang)
		}, short, policy.TransportTimeoutAfterSend},
		{"no end of the body", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", hang)
		}, short, policy.TransportTimeoutAfterSend},
		{"a header without end", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\nX-Big: "+strings.Repeat("x", 2*maxHeader)+"\r\n\r\n", hang)
		}, nil, policy.TransportTooLarge},
		{"a body over the limit", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\n\r\n"+strings.Repeat("x", 101), hang)
		}, func(cfg *Config) { cfg.MaxBody = 100 }, policy.TransportTooLarge},
		{"a body declared over the limit", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 101\r\n\r\n", hang)
		}, func(cfg *Config) { cfg.MaxBody = 100 }, policy.TransportTooLarge},
		{"a redirect to another host", func(t *testing.T) string {
			return answering(t, "HTTP/1.1 302 Found\r\nLocation: http://elsewhere.invalid/\r\nContent-Length: 0\r\n\r\n", nil)
		}, nil, policy.TransportRedirect},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var change []func(*Config)
			if tt.change != nil {
				change = append(change, tt.change)
			}
			c := newClient(t, tt.base(t), change...)
			got := c.Do(within(t), Request{Path: "/x"})
			if got.Outcome.Transport != tt.want || got.NotSent {
				t.Errorf("transport = %q, NotSent %v, want %q (%v)", got.Outcome.Transport, got.NotSent, tt.want, got.Err)
			}
			if got.Err == nil {
				t.Error("Err is nil")
			}
			if got.Outcome.Status != 0 || got.Outcome.ReceivedAt.IsZero() {
				t.Errorf("got outcome %+v, want status 0 and ReceivedAt", got.Outcome)
			}
		})
	}
}

func TestATimeoutWhileWaitingForAConnectionIsBeforeTheSend(t *testing.T) {
	release, arrived := make(chan struct{}), make(chan struct{}, 2)
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.Concurrency = 1 })
	first := make(chan Answer, 1)
	go func() { first <- c.Do(context.Background(), Request{Path: "/first"}) }()
	<-arrived
	impatient := *c
	impatient.cfg.Timeout = 50 * time.Millisecond
	if got := impatient.Do(within(t), Request{Path: "/second"}); got.Outcome.Transport != policy.TransportTimeoutBeforeSend {
		t.Errorf("transport = %q (%v)", got.Outcome.Transport, got.Err)
	}
	close(release)
	<-first
	if len(arrived) != 0 {
		t.Error("the second call arrived")
	}
}

func TestAMissingClientCertificateIsATLSFailure(t *testing.T) {
	s, ca := tlsServer(t, answerOK)
	server := s.TLS.Clone()
	server.ClientAuth = tls.RequireAnyClientCert
	base := "https://" + rawServer(t, func(conn *net.TCPConn, _ int) {
		tls.Server(conn, server).Handshake()
		// To close with the request unread would reset the connection, and the alert
		// might get lost.
		hang(conn)
	})
	c := newClient(t, base, func(cfg *Config) { cfg.TLS.CA = ca })
	if got := c.Do(within(t), Request{Path: "/"}); got.Outcome.Transport != policy.TransportTLS {
		t.Errorf("transport = %q (%v)", got.Outcome.Transport, got.Err)
	}
}

func TestAPrivateAuthorityIsTrustedAndHTTP1IsUsed(t *testing.T) {
	s, ca := tlsServer(t, answerOK, "h2", "http/1.1")
	c := newClient(t, s.URL, func(cfg *Config) { cfg.TLS.CA = ca })
	for range 3 {
		got := c.Do(within(t), Request{Path: "/"})
		if got.Outcome.Status != 200 || got.Outcome.Body != policy.BodyEnvelope {
			t.Fatalf("outcome %+v (%v)", got.Outcome, got.Err)
		}
	}
	conn, err := c.rt.DialTLSContext(within(t), "tcp", s.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if p := conn.(*countedConn).Conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; p != "http/1.1" {
		t.Errorf("negotiated %q", p)
	}
}

func TestABodyThatEndsEarlyIsCut(t *testing.T) {
	tests := map[string]string{
		"short of its length": "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":true}",
		"between chunks":      "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{\"status\":true}\r\n",
		"in a chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{\"status\":true}",
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			got := newClient(t, answering(t, answer, nil)).Do(within(t), Request{Path: "/"})
			if got.Outcome.Body != policy.BodyCut || got.Outcome.Status != 200 || got.Outcome.Flag != policy.FlagAbsent {
				t.Errorf("outcome %+v (%v)", got.Outcome, got.Err)
			}
		})
	}
}

func TestConnectionsAreReused(t *testing.T) {
	conns := 0
	s := httptest.NewUnstartedServer(http.HandlerFunc(answerOK))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns++
		}
	}
	s.Start()
	defer s.Close()
	c := newClient(t, s.URL)
	for range 10 {
		if got := c.Do(within(t), Request{Method: "POST", Path: "/", Body: []byte("x")}); got.Err != nil {
			t.Fatal(got.Err)
		}
	}
	c.Close()
	s.Close()
	if conns != 1 {
		t.Errorf("got %d connections for 10 consecutive calls, want 1", conns)
	}
}

func TestAProtocolSwitchDoesNotHang(t *testing.T) {
	base := answering(t, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", hang)
	if got := newClient(t, base).Do(within(t), Request{Path: "/"}); got.Outcome.Status != 101 {
		t.Errorf("outcome %+v (%v)", got.Outcome, got.Err)
	}
}

func TestAFailedTLSWriteCountsAsSent(t *testing.T) {
	for exact, want := range map[bool]int64{true: 0, false: 4} {
		here, there := net.Pipe()
		there.Close()
		conn := &countedConn{Conn: here, exact: exact}
		if _, err := conn.Write([]byte("GET ")); err == nil || conn.wrote.Load() != want {
			t.Errorf("exact %v: got %d bytes counted after %v, want %d", exact, conn.wrote.Load(), err, want)
		}
		here.Close()
	}
}
