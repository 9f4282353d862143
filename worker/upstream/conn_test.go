package upstream

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// serverWithExtraBytes starts a server that answers each request and sends extra bytes
// after the answer, at once or after a delay.
func serverWithExtraBytes(t *testing.T, answer, extra string, after time.Duration) (base string, conns, requests *atomic.Int32) {
	conns, requests = new(atomic.Int32), new(atomic.Int32)
	return "http://" + rawServer(t, func(conn *net.TCPConn, _ int) {
		defer conn.Close()
		conns.Add(1)
		r := bufio.NewReader(conn)
		for {
			if _, err := readRequest(r); err != nil {
				return
			}
			requests.Add(1)
			if after == 0 {
				io.WriteString(conn, answer+extra)
				continue
			}
			io.WriteString(conn, answer)
			<-time.After(after)
			io.WriteString(conn, extra)
		}
	}), conns, requests
}

// retryOnStall runs a check that depends on delays of a few milliseconds. If the check
// fails while the machine was stalled, so that the delays were longer, it runs the check
// again. Otherwise it reports the errors.
func retryOnStall(t *testing.T, name string, run func() (problems []string)) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		stop, stopped := make(chan struct{}), make(chan time.Duration)
		go func() {
			longest, last := time.Duration(0), time.Now()
			for {
				select {
				case <-stop:
					stopped <- longest
					return
				case <-time.After(time.Millisecond):
					longest, last = max(longest, time.Since(last)), time.Now()
				}
			}
		}()
		problems := run()
		close(stop)
		stall := <-stopped
		if len(problems) == 0 {
			return
		}
		if stall < silenceWait/2 || time.Now().After(deadline) {
			t.Errorf("%s: %s (longest stall of the machine: %s)", name, strings.Join(problems, "; "), stall)
			return
		}
	}
}

// TestBytesAfterAnAnswerAreNotReadAsAnotherAnswer makes non-idempotent calls to servers that
// send extra bytes after their answers.
func TestBytesAfterAnAnswerAreNotReadAsAnotherAnswer(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
	second := "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecond"
	answers := []struct{ name, method, answer string }{
		{"a 204", "POST", "HTTP/1.1 204 No Content\r\n\r\n"},
		{"a 204 that announces a body", "POST", "HTTP/1.1 204 No Content\r\nContent-Length: 16\r\n\r\n"},
		{"a 204 that announces chunks", "POST", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"a 304", "POST", "HTTP/1.1 304 Not Modified\r\nContent-Length: 16\r\n\r\n"},
		{"an answer to HEAD", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n"},
		{"an answer to HEAD without a length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n"},
		{"a whole answer", "POST", ok},
		{"an empty answer", "POST", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"},
		{"an answer in chunks", "POST", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"},
	}
	var printed bytes.Buffer
	log.SetOutput(&printed)
	defer log.SetOutput(io.Discard)
	for _, a := range answers {
		for kind, extra := range map[string]string{"bytes": `{"deleted":true}`, "a second answer": second} {
			for _, after := range []time.Duration{0, 2 * time.Millisecond} {
				name := fmt.Sprintf("%s after %s, %v later", kind, a.name, after)
				retryOnStall(t, name, func() (problems []string) {
					base, _, requests := serverWithExtraBytes(t, a.answer, extra, after)
					c := newClient(t, base, func(cfg *Config) { cfg.Concurrency = 4 })
					var mu sync.Mutex
					var wg sync.WaitGroup
					for range 4 {
						wg.Go(func() {
							for range 10 {
								got := c.Do(within(t), Request{Method: a.method, Path: "/", NonIdempotent: true})
								if got.Outcome.Transport != "" || strings.Contains(string(got.Body), "second") || got.Outcome.Body == policy.BodyCut {
									mu.Lock()
									problems = append(problems, fmt.Sprintf("%+v %q (%v)", got.Outcome, got.Body, got.Err))
									mu.Unlock()
								}
							}
						})
					}
					wg.Wait()
					if n := requests.Load(); n != 40 {
						problems = append(problems, fmt.Sprintf("%d requests for 40 calls", n))
					}
					return problems
				})
			}
		}
	}
	if printed.Len() > 0 {
		t.Errorf("net/http saw the bytes: %.200s", printed.String())
	}
}

func TestConnectionsOfASilentServerAreReusedForNonIdempotentCalls(t *testing.T) {
	for _, answer := range []string{"HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"} {
		base, conns, _ := serverWithExtraBytes(t, answer, "", 0)
		c := newClient(t, base)
		for range 2 * enoughSilent {
			if got := c.Do(within(t), Request{Method: "POST", Path: "/", NonIdempotent: true}); got.Err != nil {
				t.Fatal(got.Err)
			}
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("got %d connections for consecutive calls, want 1", n)
		}
	}
}

func TestTheKeepAliveTimeoutOfTheServerIsObeyed(t *testing.T) {
	for header, want := range map[string]int32{"timeout=0": 3, "max=0": 3, "timeout=60": 1, "timeout=60, max=100": 1, "": 1} {
		base, conns, _ := serverWithExtraBytes(t, "HTTP/1.1 200 OK\r\nKeep-Alive: "+header+"\r\nContent-Length: 2\r\n\r\n{}", "", 0)
		c := newClient(t, base)
		for range 3 {
			if got := c.Do(within(t), Request{Method: "POST", Path: "/"}); got.Err != nil {
				t.Fatal(got.Err)
			}
		}
		if n := conns.Load(); n != want {
			t.Errorf("%q: %d connections for 3 calls, want %d", header, n, want)
		}
	}
}

func TestAConnectionIsNotUsedNearTheEndOfItsKeepAlive(t *testing.T) {
	here, there := net.Pipe()
	defer here.Close()
	go func() {
		buf := make([]byte, 1024)
		for {
			if _, err := there.Read(buf); err != nil {
				return
			}
			io.WriteString(there, "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\n{}")
		}
	}()
	defer there.Close()
	conn := newCountedConn(here, true, &serverBehavior{})
	conn.begin(false, time.Time{})
	if _, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1024)
	if _, err := conn.Read(buf); err != nil {
		t.Fatal(err)
	}
	if left := time.Until(conn.keptUntil); left > 500*time.Millisecond || left < 300*time.Millisecond {
		t.Errorf("the connection may be used for %v, want half a second", left)
	}
	conn.keptUntil = time.Now()
	conn.begin(false, time.Time{})
	if n, err := conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); n != 0 || !errors.Is(err, errRetired) || conn.wrote.Load() != 18 {
		t.Errorf("got %d bytes and %v, want errRetired", n, err)
	}
}

func TestA408OnAnIdleConnectionIsNotCountedAsExtraBytes(t *testing.T) {
	for text, want := range map[string]bool{
		"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n": false, "HTTP/1.1 200 OK\r\n\r\n": true, "\r\n": true,
	} {
		h := &serverBehavior{}
		conn := newCountedConn(nil, true, h)
		if n := conn.answerBytes([]byte(text)); n != 0 || h.extraBytes.Load() != want || !conn.atEnd() {
			t.Errorf("%q: got %d bytes, extraBytes %v; want 0 bytes, %v", text, n, h.extraBytes.Load(), want)
		}
	}
}
