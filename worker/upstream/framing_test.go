package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestAnAnswerEndsWhereHTTPDefinesItsEnd(t *testing.T) {
	const extra = "extra"
	for _, tt := range []struct {
		name, answer          string
		head                  bool
		announced, endUnknown bool
	}{
		{"a length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false, false, false},
		{"a length twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", false, false, false},
		{"no body", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", false, false, false},
		{"bare newlines", "HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", false, false, false},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n{}", false, false, false},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", false, false, false},
		{"204 with a length", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", false, true, false},
		{"204 in chunks", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", false, true, false},
		{"204 with the length 0", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, false, false},
		{"304 with a length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", false, true, false},
		{"to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, true, false},
		{"to HEAD without a length", "HTTP/1.1 200 OK\r\n\r\n", true, false, false},
		{"after interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", false, false, false},
		{"chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;a=b\r\n{}\r\nA \r\n0123456789\r\n0\r\n\r\n", false, false, false},
		{"chunks and a trailer", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n0\r\nX-A: b\r\n\r\n", false, false, false},
		{"up to the end", "HTTP/1.1 200 OK\r\n\r\n{}", false, false, true},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", false, false, true},
		{"a length of words", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}", false, false, true},
		{"another encoding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", false, false, true},
		{"another protocol", "HTTP/1.1 101 Switching Protocols\r\n\r\n", false, false, true},
		{"a continued line", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", false, false, true},
		{"no HTTP", "SSH-2.0-OpenSSH\r\n\r\n", false, false, true},
	} {
		for size := 1; size < 80; size += 13 {
			var f framing
			f.start(tt.head)
			used := 0
			for rest := []byte(tt.answer + extra); len(rest) > 0; {
				n := min(size, len(rest))
				got := f.consume(rest[:n])
				used += got
				if rest = rest[n:]; got < n {
					break
				}
			}
			if tt.endUnknown {
				if f.step != endUnknown || used != len(tt.answer+extra) {
					t.Errorf("%s, %d at a time: step %d after %d bytes, want endUnknown", tt.name, size, f.step, used)
				}
				continue
			}
			if f.step != complete || used != len(tt.answer) || f.bodyAnnounced != tt.announced {
				t.Errorf("%s, %d at a time: step %d after %d of %d bytes, announced %v", tt.name, size, f.step, used, len(tt.answer), f.bodyAnnounced)
			}
		}
	}
}

func TestEveryFormOfAKeepAliveHeaderIsRead(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"": -1, "timeout=5": 5 * time.Second, "timeout=5, max=100": 5 * time.Second, "max=100,timeout=15": 15 * time.Second, "Timeout = 5": 5 * time.Second,
		`timeout="5"`: 5 * time.Second, "timeout=0": 0, "timeout=5, max=0": 0, "max=0, timeout=5": 0, "timeout=-1": -1, "timeout=x": -1, "timeout": -1, "300": -1,
	} {
		if got := keepAlive(value); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

// FuzzFraming compares framing with net/http: an answer that both can parse ends at the
// same byte, independent of how the bytes are split.
func FuzzFraming(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}more", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nmore",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nA: b\r\n\r\nmore", "HTTP/1.0 200 OK\nContent-Length: 0\n\nmore",
		"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\nmore",
	} {
		f.Add([]byte(s), false, 3)
		f.Add([]byte(s), true, 100)
	}
	f.Fuzz(func(t *testing.T, raw []byte, toHead bool, size int) {
		if size < 1 || len(raw) > 4096 {
			return
		}
		var fr framing
		fr.start(toHead)
		used := 0
		for rest := raw; len(rest) > 0; {
			n := min(size, len(rest))
			got := fr.consume(rest[:n])
			used += got
			if rest = rest[n:]; got < n || fr.step == complete {
				break
			}
		}
		if fr.step != complete || bytes.Contains(raw, []byte("HTTP/1.1 1")) {
			return
		}
		method := http.MethodGet
		if toHead {
			method = http.MethodHead
		}
		r := bufio.NewReader(bytes.NewReader(raw))
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return // net/http closes the connection
		}
		defer resp.Body.Close()
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			return
		}
		if !resp.Close && strings.HasPrefix(resp.Proto, "HTTP/1.1") && len(raw)-r.Buffered() != used {
			t.Fatalf("%q ends at byte %d, and for net/http at %d", raw, used, len(raw)-r.Buffered())
		}
	})
}
