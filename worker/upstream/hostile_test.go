package upstream

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/policy"
)

// flood writes text repeatedly until the other side closes the connection.
func flood(conn net.Conn, text string) {
	for {
		if _, err := conn.Write([]byte(text)); err != nil {
			return
		}
	}
}

func TestAnInvalidOrEndlessAnswerEndsTheCall(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\n"
	big := strings.Repeat("x", 64<<10)
	for name, c := range map[string]struct {
		answer func(net.Conn)
		want   []policy.Transport
	}{
		"10 MB of header lines":         {func(c net.Conn) { say(c, ok+strings.Repeat("X-A: "+big+"\r\n", 160)+"\r\n{}") }, asTooLarge},
		"header lines without end":      {func(c net.Conn) { say(c, ok); flood(c, "X-A: "+big+"\r\n") }, asTooLarge},
		"a line without end":            {func(c net.Conn) { say(c, ok+"X-A: "); flood(c, big) }, asTooLarge},
		"many small lines":              {func(c net.Conn) { say(c, ok); flood(c, "A:b\r\n") }, asTooLarge},
		"a status line that never ends": {func(c net.Conn) { say(c, "HTTP/1.1 200 "); flood(c, big) }, asTooLarge},
		"interim answers without end":   {func(c net.Conn) { flood(c, "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n") }, asTooLarge},
		"a body without end":            {func(c net.Conn) { say(c, ok+"\r\n"); flood(c, big) }, asTooLarge},
		"chunks without end": {func(c net.Conn) {
			say(c, ok+"Transfer-Encoding: chunked\r\n\r\n")
			flood(c, fmt.Sprintf("%x\r\n%s\r\n", len(big), big))
		}, asTooLarge},
		"a chunk's extension without end": {func(c net.Conn) { say(c, ok+"Transfer-Encoding: chunked\r\n\r\n1;"); flood(c, big) }, asCut},
		"trailers without end": {func(c net.Conn) {
			say(c, ok+"Transfer-Encoding: chunked\r\nTrailer: X-A\r\n\r\n2\r\n{}\r\n0\r\n")
			flood(c, "X-A: "+big+"\r\n")
		}, asCut},
		"two lengths":         {func(c net.Conn) { say(c, ok+"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}") }, asReset},
		"a negative length":   {func(c net.Conn) { say(c, ok+"Content-Length: -2\r\n\r\n{}") }, asReset},
		"a length of words":   {func(c net.Conn) { say(c, ok+"Content-Length: two\r\n\r\n{}") }, asReset},
		"a huge length":       {func(c net.Conn) { say(c, ok+"Content-Length: 9223372036854775807\r\n\r\n{}") }, asTooLarge},
		"a length past int64": {func(c net.Conn) { say(c, ok+"Content-Length: 99999999999999999999\r\n\r\n{}") }, asReset},
		"a negative chunk":    {func(c net.Conn) { say(c, ok+"Transfer-Encoding: chunked\r\n\r\n-1\r\n{}") }, asCut},
		"a huge chunk":        {func(c net.Conn) { say(c, ok+"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}") }, asCut},
		"another encoding":    {func(c net.Conn) { say(c, ok+"Transfer-Encoding: gzip, chunked\r\n\r\n{}") }, asReset},
		"no HTTP":             {func(c net.Conn) { say(c, "SSH-2.0-OpenSSH_9.9\r\n\x00\xff") }, asReset},
		"a status of words":   {func(c net.Conn) { say(c, "HTTP/1.1 abc OK\r\n\r\n") }, asReset},
		"a negative status":   {func(c net.Conn) { say(c, "HTTP/1.1 -20 OK\r\n\r\n") }, asReset},
		"a header's NUL":      {func(c net.Conn) { say(c, ok+"X-A: \x00\r\n\r\n{}") }, asReset},
		"nothing":             {func(net.Conn) {}, asReset},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := rawServer(t, func(conn *net.TCPConn, _ int) {
				if _, err := readRequest(bufio.NewReader(conn)); err == nil {
					c.answer(conn)
				}
				_ = conn.Close()
			})
			client := newClient(t, "http://"+addr, func(cfg *Config) { cfg.MaxBody = 1 << 20 })
			a := client.Do(within(t), Request{Path: "/"})
			if a.NotSent || !has(c.want, a.Outcome.Transport) {
				t.Errorf("outcome %+v, %v; want one of %q", a.Outcome, a.Err, c.want)
			}
			if a.Latency > 8*time.Second {
				t.Errorf("the call took %v: only the timeout ended it", a.Latency)
			}
			if a.Outcome.Transport == policy.TransportNone && a.Outcome.Body == policy.BodyEnvelope {
				t.Errorf("got an envelope: %+v", a.Outcome)
			}
		})
	}
}

// The allowed transports for each kind of answer. An answer with an incomplete body may
// count as an answer.
var (
	asTooLarge = []policy.Transport{policy.TransportTooLarge}
	asReset    = []policy.Transport{policy.TransportResetAfterSend}
	asCut      = []policy.Transport{policy.TransportNone, policy.TransportResetAfterSend, policy.TransportTooLarge}
)

func has(list []policy.Transport, t policy.Transport) bool {
	for _, one := range list {
		if one == t {
			return true
		}
	}
	return false
}

func say(c net.Conn, text string) { _, _ = c.Write([]byte(text)) }

func TestAnInvalidHeaderLineIsNotQuotedInTheError(t *testing.T) {
	const secret = "sk-a\\very\"odd-secret"
	addr := rawServer(t, func(conn *net.TCPConn, _ int) {
		if _, err := readRequest(bufio.NewReader(conn)); err == nil {
			say(conn, "HTTP/1.1 200 OK\r\nSet-Cookie: session=cookie-of-the-session\x01\r\nX-Echo: "+secret+"\r\n\r\n")
		}
		_ = conn.Close()
	})
	client := newClient(t, "http://"+addr, func(cfg *Config) { cfg.Auth = Bearer(StaticSecret(secret)) })
	a := client.Do(within(t), Request{Path: "/"})
	if a.Err == nil || strings.Contains(a.Err.Error(), "cookie-of-the-session") || !strings.Contains(a.Err.Error(), "is not valid HTTP") {
		t.Errorf("got %v", a.Err)
	}
}

func TestAHostileAnswerTakesLittleMemory(t *testing.T) {
	addr := rawServer(t, func(conn *net.TCPConn, _ int) {
		if _, err := readRequest(bufio.NewReader(conn)); err == nil {
			say(conn, "HTTP/1.1 200 OK\r\n")
			flood(conn, "X-A: "+strings.Repeat("x", 64<<10)+"\r\n")
		}
		_ = conn.Close()
	})
	client := newClient(t, "http://"+addr)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 5 {
		if a := client.Do(within(t), Request{Path: "/"}); a.Outcome.Transport != policy.TransportTooLarge {
			t.Fatalf("outcome %+v", a.Outcome)
		}
	}
	runtime.ReadMemStats(&after)
	if per := (after.TotalAlloc - before.TotalAlloc) / 5; per > 8<<20 {
		t.Errorf("an answer took %d bytes of memory, want at most 8 MiB", per)
	}
}

// FuzzAnswer reads any answer that net/http accepts: the texts in the result are printable,
// limited in length, and without the credential.
func FuzzAnswer(f *testing.F) {
	const secret = "sk-0123456789-secret"
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nX-Correlation-Id: id\xff\xc2\x9b31m\r\nContent-Length: 15\r\n\r\n{\"status\":true}",
		"HTTP/1.1 429 Slow\r\nRetry-After: 99999999999999999999\r\nRateLimit: \"a\";r=0;t=1\r\nX-RateLimit-Reset: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Openapi-Amount: " + secret + "\r\nContent-Type: text/plain\r\n\r\n" + secret,
		"HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\n\r\n\x1b]0;x\x07" + secret,
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-A: b\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00",
	} {
		f.Add([]byte(s))
	}
	c := newClient(f, "http://127.0.0.1:1", func(cfg *Config) {
		cfg.MaxBody, cfg.Auth = 1<<16, Bearer(StaticSecret(secret))
	})
	f.Fuzz(func(t *testing.T, raw []byte) {
		resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(raw)), &http.Request{Method: http.MethodGet})
		if err != nil {
			return
		}
		defer resp.Body.Close()
		a := c.readAnswer(t.Context(), resp, time.Now())
		texts := []string{a.Kept.CorrelationID, a.Kept.RetryAfter, a.Kept.Amount, a.Outcome.Message, a.Outcome.CorrelationID, a.Outcome.Code}
		for _, v := range a.Kept.RateLimit {
			texts = append(texts, v)
		}
		if a.Err != nil {
			texts = append(texts, a.Err.Error())
		}
		for _, text := range texts {
			if !utf8.ValidString(text) || len(text) > maxMessage || strings.ContainsFunc(text, unicode.IsControl) {
				t.Errorf("kept %q", text)
			}
		}
		for _, text := range append(texts, string(a.Body), a.ContentType) {
			if strings.Contains(text, secret) {
				t.Errorf("the credential appears in %q", text)
			}
		}
		if len(a.Body) > 1<<16 {
			t.Errorf("a body of %d bytes", len(a.Body))
		}
	})
}
