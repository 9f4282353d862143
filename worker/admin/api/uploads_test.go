package api_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/admin/api"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

func TestTooManyUploadsAreAProblem(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	for i := range 8 {
		s.sender(fmt.Sprintf("b%d", i)).lines(0, 1)
	}
	eventually(t, "the uploads to begin", func() bool { return s.cfg.Streams.Uploads() == 8 })
	s.want(s.lines("b", `{"upstream":"sim","path":"/x"}`), http.StatusServiceUnavailable, "too many streams are open on this server")
	chunked := func(r *http.Request) { r.ContentLength = -1 }
	s.want(s.ask("POST", "/v1/calls", `{"upstream":"sim","path":"/x"}`, chunked), http.StatusServiceUnavailable, "too many streams are open on this server")
	s.want(s.ask("POST", "/v1/calls", `{"upstream":"sim","path":"/x"}`), http.StatusAccepted, "")
}

// sender sends a batch by hand.
type sender struct {
	net.Conn
	t *testing.T
}

// send opens a connection and sends the header of a batch in chunks.
func (s *server) sender(batch string) *sender {
	s.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	fmt.Fprintf(conn, "POST /v1/batches?name=%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n", batch, strings.TrimPrefix(s.url, "http://"))
	return &sender{conn, s.t}
}

// lines sends lines with the keys from a number on.
func (c *sender) lines(from, n int) {
	c.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"key":"%d","upstream":"sim","path":"/x"}`+"\n", from+i)
	}
	if _, err := fmt.Fprintf(c, "%x\r\n%s\r\n", b.Len(), b.String()); err != nil {
		c.t.Error(err)
	}
}

// accepted returns how many calls of a batch were accepted.
func (s *server) accepted(batch string) int64 {
	b, err := s.ledger.Batch(s.t.Context(), batch)
	if err != nil && !errors.Is(err, ledger.ErrNoBatch) {
		s.t.Fatal(err)
	}
	return b.Counts.Accepted
}

func TestAClientThatBreaksOffLosesNothingThatWasAccepted(t *testing.T) {
	s := serve(t, redistest.Redis(t).Client)
	c := s.sender("b")
	c.lines(0, 1200)
	eventually(t, "the first lines", func() bool { return s.accepted("b") >= 1000 })
	c.Close()
	before := s.accepted("b")
	got := decode[jsonform.Batch](s, s.ask("GET", "/v1/batches/b", ""))
	if got.Accepted < before || got.Accepted != got.Open {
		t.Errorf("%d calls were accepted, and the batch has %+v", before, got)
	}
	var lines []string
	for i := range 1200 {
		lines = append(lines, fmt.Sprintf(`{"key":"%d","upstream":"sim","path":"/x"}`, i))
	}
	sent := decode[api.Sent](s, s.lines("b", lines...))
	if sent.Accepted+sent.Duplicate != 1200 || int64(sent.Duplicate) < before || s.accepted("b") != 1200 {
		t.Errorf("sent again: %+v, of which %d were there", sent, before)
	}
}

// The server's time for a whole request is two seconds here.
func TestAClientMaySendSlowly(t *testing.T) {
	t.Parallel()
	rdb, _ := redistest.Mini(t)
	s := serve(t, rdb)
	c := s.sender("slow")
	for i := range 4 {
		c.lines(i, 1)
		<-time.After(800 * time.Millisecond)
	}
	fmt.Fprint(c, "0\r\n\r\n")
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, _ := io.ReadAll(w.Body)
	if w.StatusCode != http.StatusAccepted || !strings.Contains(string(text), `"accepted":4`) {
		t.Errorf("got %d %s", w.StatusCode, text)
	}
}

func TestAClientThatHangsWhileItSendsIsToldWhatWasAccepted(t *testing.T) {
	t.Parallel()
	cfg := configOf(t, redistest.Redis(t).Client)
	cfg.Streams.SetIdle(300 * time.Millisecond)
	s := serveConfig(t, cfg)
	c := s.sender("b")
	c.lines(0, 1200)
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, _ := io.ReadAll(w.Body)
	if w.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(text), "nothing arrived for 300ms; what was accepted stays") {
		t.Errorf("got %d %s", w.StatusCode, text)
	}
	var sent api.Sent
	if err := json.Unmarshal(text, &sent); err != nil || sent.Accepted < 1000 || int64(sent.Accepted) != s.accepted("b") {
		t.Errorf("got %+v, %v, and the batch has %d", sent, err, s.accepted("b"))
	}
}

func TestABodyThatBreaksOffIsNotTakenForAWholeOne(t *testing.T) {
	s := serve(t, redistest.Redis(t).Client)
	c := s.sender("b")
	c.lines(0, 600)
	fmt.Fprint(c, "30\r\n{\"key\":\"half\",")
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	w, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	text, _ := io.ReadAll(w.Body)
	if w.StatusCode != http.StatusBadRequest || !strings.Contains(string(text), "the body broke off; what was accepted stays. Send the same lines again") || !strings.Contains(string(text), `"batch":"b","accepted":`) {
		t.Errorf("got %d %s", w.StatusCode, text)
	}
}

func TestABatchDuringAnOutageOfRedisSaysWhatWasAccepted(t *testing.T) {
	rdb := redistest.Redis(t).Client
	s := serve(t, rdb)
	rdb.AddHook(&breaking{name: "evalsha", after: 6})
	var lines []string
	for i := range 5000 {
		lines = append(lines, fmt.Sprintf(`{"key":"%d","upstream":"sim","path":"/x"}`, i))
	}
	got := s.lines("b", lines...)
	s.want(got, http.StatusServiceUnavailable, "Redis does not answer; try again in a few seconds; what was accepted stays. Send the same lines again")
	sent := decode[api.Sent](s, got)
	if int64(sent.Accepted) > s.accepted("b") || got.header.Get("Retry-After") == "" || strings.Contains(got.body, "reset by peer") {
		t.Errorf("got %+v, and the batch has %d", sent, s.accepted("b"))
	}
}
