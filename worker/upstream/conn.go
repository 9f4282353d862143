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
	// silenceWait is how long a connection must have been silent after an answer before
	// the next non-idempotent request is sent on it. It applies until enough connections
	// have shown that the server sends nothing after its answers.
	silenceWait = 20 * time.Millisecond
	// enoughSilent is the number of silent connections that show this.
	enoughSilent = 16
)

// errRetired refuses a request on a connection that must not be used again. No byte of
// the request was sent, so it is sent on another connection.
var errRetired = errors.New("the connection is not used again")

// serverBehavior records how the server of an upstream uses connections. The zero value
// is ready for use. It is safe for concurrent use.
type serverBehavior struct {
	// extraBytes reports that bytes arrived after the end of an answer. From then on no
	// connection is used again: if such bytes arrived a little later, they would be read
	// as the answer to the next call.
	extraBytes atomic.Bool
	// silent counts the connections that were silent after an answer: without a body at
	// index 0, with a body at index 1.
	silent [2]atomic.Int32
	// onExtraBytes is called the first time that extra bytes arrive. It may be nil.
	onExtraBytes func()
}

func (h *serverBehavior) sawExtraBytes() {
	if !h.extraBytes.Swap(true) && h.onExtraBytes != nil {
		h.onExtraBytes()
	}
}

// countedConn is a connection that carries HTTP in the clear, or TLS within the tunnel of
// a proxy. It counts the bytes written and read. It refuses a request if bytes may follow
// the last answer, because they would be read as the next answer. It never passes such
// bytes to net/http.
type countedConn struct {
	net.Conn
	// exact reports that a failed Write returns the number of bytes sent. TLS does not:
	// a part of a record may have been sent.
	exact       bool
	wrote, read atomic.Int64
	// server is shared by the connections of one upstream. If it is nil, the connection
	// only counts.
	server *serverBehavior

	mu    sync.Mutex
	state connState
	// tunnel reports that the connection carries TLS, which cannot be parsed.
	tunnel bool
	// retired reports that no more requests may be sent; retiredC is closed then.
	retired  bool
	retiredC chan struct{}
	// nonIdempotent reports that the next request must not be sent twice.
	nonIdempotent bool
	// reused reports that a request was sent before.
	reused bool
	// sendBy is the time by which the next request must be sent, zero for any time.
	// missedSendBy reports that a request was refused because that time had passed.
	sendBy       time.Time
	missedSendBy bool
	framing      framing
	// answeredAt is when the last answer was complete.
	answeredAt time.Time
	// keptUntil is when the server closes the connection, zero if it did not say.
	keptUntil time.Time
}

type connState int

const (
	// idle: no request is in flight.
	idle connState = iota
	// begun: net/http has chosen the connection for a request.
	begun
	// busy: a request was sent, and its answer is not complete.
	busy
)

func newCountedConn(conn net.Conn, exact bool, server *serverBehavior) *countedConn {
	return &countedConn{Conn: conn, exact: exact, server: server, retiredC: make(chan struct{})}
}

// begin announces a request, which must be sent by the time sendBy; zero for any time.
func (c *countedConn) begin(nonIdempotent bool, sendBy time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nonIdempotent, c.sendBy = nonIdempotent, sendBy
	if c.state == busy && !c.tunnel || !c.keptUntil.IsZero() && !time.Now().Before(c.keptUntil) {
		// The end of the last answer is unknown, or the server is about to close.
		c.retireLocked()
	}
	c.state = begun
}

// tunnelAnswer records the head of an answer that came through a tunnel, where the bytes
// cannot be parsed.
func (c *countedConn) tunnelAnswer(resp *http.Response) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.tunnel {
		return
	}
	bodiless := resp.Request.Method == http.MethodHead || resp.StatusCode == http.StatusNoContent || resp.StatusCode == http.StatusNotModified
	if bodiless && (resp.Header.Get("Content-Length") > "0" || len(resp.TransferEncoding) > 0) {
		c.retireLocked()
	}
	c.setKeepAliveLocked(keepAlive(resp.Header.Get("Keep-Alive")))
}

// retireLocked prevents further requests on the connection. It must be called with c.mu
// held.
func (c *countedConn) retireLocked() {
	if !c.retired {
		c.retired = true
		close(c.retiredC)
	}
}

func (c *countedConn) Write(p []byte) (int, error) {
	if err := c.beforeWrite(p); err != nil {
		return 0, err
	}
	// Count before the write, so that a concurrent reader of the counter never sees too few.
	c.wrote.Add(int64(len(p)))
	n, err := c.Conn.Write(p)
	if c.exact {
		c.wrote.Add(int64(n - len(p)))
	}
	return n, err
}

// beforeWrite starts a request, or refuses it with errRetired.
func (c *countedConn) beforeWrite(p []byte) error {
	if c.server == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == idle && bytes.HasPrefix(p, []byte("CONNECT ")) {
		c.tunnel = true
	}
	if c.state == begun && !c.sendBy.IsZero() && !time.Now().Before(c.sendBy) {
		// This process was stopped for a while, or it took long to get the connection.
		c.missedSendBy = true
		c.retireLocked()
		return errRetired
	}
	if c.tunnel {
		c.sendBy = time.Time{} // the rest of the request may be sent at any time
		if c.retired {
			return errRetired
		}
		return nil
	}
	if c.state != begun {
		return nil
	}
	if c.nonIdempotent && c.reused {
		c.waitForSilenceLocked()
	}
	if c.retired || c.server.extraBytes.Load() && c.reused {
		c.retireLocked()
		return errRetired
	}
	c.framing.start(bytes.HasPrefix(p, []byte("HEAD ")))
	c.state, c.reused = busy, true
	return nil
}

// refusedLate reports whether a request was refused because its sendBy had passed.
func (c *countedConn) refusedLate() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.missedSendBy
}

// waitForSilenceLocked waits until the connection has been silent for silenceWait after
// its last answer. If bytes arrive meanwhile, Read retires the connection and ends the
// wait. It must be called with c.mu held, which it releases while it waits.
func (c *countedConn) waitForSilenceLocked() {
	silent := &c.server.silent[0]
	if c.framing.hasBody {
		silent = &c.server.silent[1]
	}
	if silent.Load() >= enoughSilent || c.retired {
		return
	}
	if wait := time.Until(c.answeredAt.Add(silenceWait)); wait > 0 {
		c.mu.Unlock()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-c.retiredC:
		}
		timer.Stop()
		c.mu.Lock()
	}
	if !c.retired {
		silent.Add(1)
	}
}

func (c *countedConn) Read(p []byte) (int, error) {
	if c.atEnd() {
		return 0, io.EOF
	}
	n, err := c.Conn.Read(p)
	if n > 0 && c.server != nil {
		if n = c.answerBytes(p[:n]); c.atEnd() {
			// If EOF arrives together with the answer, net/http does not use the
			// connection for another request.
			err = io.EOF
		}
	}
	c.read.Add(int64(n))
	return n, err
}

// atEnd reports whether the last answer is complete and no other answer may follow.
func (c *countedConn) atEnd() bool {
	if c.server == nil {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.retired && c.state != busy && !c.tunnel
}

// answerBytes returns how many of the received bytes belong to an answer.
func (c *countedConn) answerBytes(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tunnel {
		return len(p)
	}
	used := 0
	if c.state == busy {
		first := c.framing.step == inHead && len(c.framing.line) == 0
		used = c.framing.consume(p)
		if first && c.framing.step == endUnknown && !c.tunnel && !c.answeredAt.IsZero() && !bytes.HasPrefix(p, []byte("HTTP/")) {
			// These bytes follow the last answer and are not an answer themselves.
			c.server.sawExtraBytes()
		}
		if c.framing.step != complete {
			return used
		}
		c.answerCompleteLocked()
	}
	if used < len(p) {
		// A 408 is allowed: some servers send it when they close an idle connection.
		if !bytes.HasPrefix(p[used:], []byte("HTTP/1.1 408")) && !bytes.HasPrefix(p[used:], []byte("HTTP/1.0 408")) {
			c.server.sawExtraBytes()
		}
		c.retireLocked()
	}
	return used
}

// answerCompleteLocked records the end of an answer. It must be called with c.mu held.
func (c *countedConn) answerCompleteLocked() {
	c.state, c.answeredAt = idle, time.Now()
	c.setKeepAliveLocked(c.framing.keep)
	if c.framing.bodyAnnounced || c.server.extraBytes.Load() {
		c.retireLocked()
	}
}

// setKeepAliveLocked records how long the server keeps the connection open; negative if
// it did not say. It must be called with c.mu held.
func (c *countedConn) setKeepAliveLocked(keep time.Duration) {
	c.keptUntil = time.Time{}
	if keep >= 0 {
		// The next request must arrive before the server closes the connection.
		c.keptUntil = time.Now().Add(keep - min(time.Second, keep/2))
	}
	if keep == 0 {
		c.retireLocked()
	}
}
