package upstream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// watchFor is how long a connection must have been silent after an answer
	// before a request that must not be sent twice goes out on it, as long as it
	// is not known that the server sends nothing after its answers.
	watchFor = 20 * time.Millisecond
	// quietEnough is after how many silent connections that is known.
	quietEnough = 16
)

// errSpent refuses a request on a connection that must not be used again. Nothing
// of the request has left: it goes out on another connection.
var errSpent = errors.New("the connection is not used again")

// habits are what is known of how the server of an upstream uses connections. The
// zero value knows nothing. It is safe for concurrent use.
type habits struct {
	// stray reports that bytes came after an answer. From then on no connection is
	// used again: where such bytes come a little later, they would be taken for the
	// answer to the next call.
	stray atomic.Bool
	// quiet counts connections that were silent after an answer, without a body
	// and with one.
	quiet [2]atomic.Int32
	// tell is called when stray bytes come for the first time.
	tell func()
}

func (h *habits) sawStray() {
	if !h.stray.Swap(true) && h.tell != nil {
		h.tell()
	}
}

// countedConn is a connection that carries HTTP in the clear, or TLS within a
// proxy's tunnel. It counts what is written and read, and sees to it that no
// request goes out on a connection where bytes may follow an answer: these would
// be taken for the next one. net/http is never shown such bytes.
type countedConn struct {
	net.Conn
	// exact reports that a failed Write knows how much of it left. TLS does not:
	// part of a record may have gone.
	exact       bool
	wrote, read atomic.Int64
	// habits is shared by the connections of one upstream; nil watches nothing.
	habits *habits

	mu    sync.Mutex
	state connState
	// tunnel reports that the connection carries TLS that cannot be looked into.
	tunnel bool
	// spent reports that no request may go out any more; stray is closed then.
	spent bool
	stray chan struct{}
	// once reports that the next request must not be sent twice, reused that
	// another one went out before.
	once, reused bool
	// sendBy is by when the next request has to leave, zero for any time; late reports
	// that one did not.
	sendBy  time.Time
	late    bool
	framing framing
	// answered is when the last answer was complete, until is when the server
	// closes the connection; zero if it did not say.
	answered, until time.Time
}

type connState int

const (
	// idle: no request is on its way.
	idle connState = iota
	// begun: net/http has chosen the connection for a request.
	begun
	// busy: a request has gone out, and its answer is not complete.
	busy
)

func newCountedConn(conn net.Conn, exact bool, h *habits) *countedConn {
	return &countedConn{Conn: conn, exact: exact, habits: h, stray: make(chan struct{})}
}

// begin says that a request follows, which has to leave by the given time.
func (c *countedConn) begin(nonIdempotent bool, sendBy time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.once, c.sendBy = nonIdempotent, sendBy
	if c.state == busy && !c.tunnel || !c.until.IsZero() && !time.Now().Before(c.until) {
		// The end of the last answer is not known, or the server is about to hang up.
		c.spendLocked()
	}
	c.state = begun
}

// answeredBy notes the head of an answer that came through a tunnel, where the
// bytes themselves cannot be followed.
func (c *countedConn) answeredBy(resp *http.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.tunnel {
		return
	}
	bodiless := resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if bodiless && (resp.Header.Get("Content-Length") > "0" || len(resp.TransferEncoding) > 0) {
		c.spendLocked()
	}
	c.keepFor(keepAlive(resp.Header.Get("Keep-Alive")))
}

// spendLocked keeps further requests off the connection. c.mu is held.
func (c *countedConn) spendLocked() {
	if !c.spent {
		c.spent = true
		close(c.stray)
	}
}

func (c *countedConn) Write(p []byte) (int, error) {
	if err := c.ready(p); err != nil {
		return 0, err
	}
	// Counted before it is written: who asks meanwhile must not hear "nothing".
	c.wrote.Add(int64(len(p)))
	n, err := c.Conn.Write(p)
	if c.exact {
		c.wrote.Add(int64(n - len(p)))
	}
	return n, err
}

// ready lets a request begin, or refuses it.
func (c *countedConn) ready(p []byte) error {
	if c.habits == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == idle && bytes.HasPrefix(p, []byte("CONNECT ")) {
		c.tunnel = true
	}
	if c.state == begun && !c.sendBy.IsZero() && !time.Now().Before(c.sendBy) {
		// This process stood still, or the connection took its time.
		c.late = true
		c.spendLocked()
		return errSpent
	}
	if c.tunnel {
		c.sendBy = time.Time{} // what follows of the request may leave
	}
	if c.tunnel || c.state != begun {
		return c.refusal()
	}
	if c.once && c.reused {
		c.watch()
	}
	if c.spent || c.habits.stray.Load() && c.reused {
		c.spendLocked()
		return errSpent
	}
	c.framing.start(bytes.HasPrefix(p, []byte("HEAD ")))
	c.state, c.reused = busy, true
	return nil
}

// missed reports that the last request was to leave by a time that had passed.
func (c *countedConn) missed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.late
}

// refusal refuses a request in a tunnel that was spent. c.mu is held.
func (c *countedConn) refusal() error {
	if c.tunnel && c.spent {
		return errSpent
	}
	return nil
}

// watch waits until the connection was silent for long enough after its last
// answer. Read notices what comes meanwhile. c.mu is held.
func (c *countedConn) watch() {
	quiet := &c.habits.quiet[0]
	if c.framing.hasBody {
		quiet = &c.habits.quiet[1]
	}
	if quiet.Load() >= quietEnough || c.spent {
		return
	}
	if wait := time.Until(c.answered.Add(watchFor)); wait > 0 {
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.stray:
		}
		timer.Stop()
		c.mu.Lock()
	}
	if !c.spent {
		quiet.Add(1)
	}
}

func (c *countedConn) Read(p []byte) (int, error) {
	if c.over() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n > 0 && c.habits != nil {
		if n = c.follow(p[:n]); c.over() {
			// With the end in hand together with the answer, net/http does not offer
			// the connection to another request.
			err = io.EOF
		}
	}
	c.read.Add(int64(n))
	return n, err
}

// over reports that the last answer is complete and no other one may come.
func (c *countedConn) over() bool {
	if c.habits == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spent && c.state != busy && !c.tunnel
}

// follow returns how many of the bytes that came belong to an answer.
func (c *countedConn) follow(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tunnel {
		return len(p)
	}
	used := 0
	if c.state == busy {
		fresh := c.framing.step == inHead && len(c.framing.line) == 0
		used = c.framing.take(p)
		if fresh && c.framing.step == opaque && !c.tunnel {
			c.garbled(p)
		}
		if c.framing.step != complete {
			return used
		}
		c.complete()
	}
	if used < len(p) {
		// A server that gives up an idle connection may say so.
		if !bytes.HasPrefix(p[used:], []byte("HTTP/1.1 408")) && !bytes.HasPrefix(p[used:], []byte("HTTP/1.0 408")) {
			c.habits.sawStray()
		}
		c.spendLocked()
	}
	return used
}

// garbled notes an answer that does not begin as one: on a connection that was
// used before, it follows the last answer. c.mu is held.
func (c *countedConn) garbled(p []byte) {
	if !c.answered.IsZero() && !bytes.HasPrefix(p, []byte("HTTP/")) {
		c.habits.sawStray()
	}
}

// complete notes the end of an answer. c.mu is held.
func (c *countedConn) complete() {
	c.state, c.answered = idle, time.Now()
	c.keepFor(c.framing.keep)
	if c.framing.announced || c.habits.stray.Load() {
		c.spendLocked()
	}
}

// keepFor notes how long the server keeps the connection; negative: it does not
// say. c.mu is held.
func (c *countedConn) keepFor(keep time.Duration) {
	c.until = time.Time{}
	if keep >= 0 {
		// The next request needs time to arrive before the server hangs up.
		c.until = time.Now().Add(keep - min(time.Second, keep/2))
	}
	if keep == 0 {
		c.spendLocked()
	}
}
