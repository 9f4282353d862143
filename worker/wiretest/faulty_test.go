package wiretest

import (
	"bytes"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// fault is what a [faultyDialer] does to a request.
type fault string

const (
	// replyLost: Redis carries the request out, and the client gets no reply.
	replyLost fault = "the reply is lost"
	// replyCut: Redis carries the request out, and the client gets half of the reply.
	replyCut fault = "the reply is cut"
	// requestLost: Redis does not get the request.
	requestLost fault = "the request is lost"
)

// faultyDialer makes connections to Redis that fail at some of the requests that matches
// selects, and then break. A proxy sees only bytes; this sees which script a request runs.
type faultyDialer struct {
	addr    string
	fault   fault
	matches func(args []string) bool
	// Each every-th request that matches fails, so that a repeated request succeeds in the
	// end, and at most limit requests in all.
	every, limit int

	mu              sync.Mutex
	matched, failed int
}

// dial is the Dialer of a client.
func (d *faultyDialer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.addr)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, d: d}, nil
}

// fails reports whether this request is to fail, and counts it.
func (d *faultyDialer) fails(request []byte) bool {
	args := argsOf(request)
	if len(args) == 0 || !d.matches(args) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.matched++
	if d.matched%d.every != 0 || d.failed == d.limit {
		return false
	}
	d.failed++
	return true
}

// counts returns how many requests matched, and how many of them failed.
func (d *faultyDialer) counts() (matched, failed int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.matched, d.failed
}

// faultyConn is one connection. It relies on how Redis clients use theirs: the reply to
// one write is read before the next write.
type faultyConn struct {
	net.Conn
	d *faultyDialer
	// failNext means that the next reply fails, broken that the connection is broken.
	failNext, broken bool
}

var errBroken = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

func (c *faultyConn) Write(b []byte) (int, error) {
	if !c.d.fails(b) {
		return c.Conn.Write(b)
	}
	if c.d.fault == requestLost {
		_ = c.Conn.Close()
		return 0, errBroken
	}
	c.failNext = true
	return c.Conn.Write(b)
}

func (c *faultyConn) Read(b []byte) (int, error) {
	if c.broken {
		return 0, errBroken
	}
	if !c.failNext {
		return c.Conn.Read(b)
	}
	// When the reply begins, Redis has carried the request out.
	n, err := c.Conn.Read(b)
	c.broken = true
	_ = c.Conn.Close()
	if err != nil || c.d.fault == replyLost {
		return 0, errBroken
	}
	return max(n/2, 1), nil
}

// argsOf returns the arguments of the first command in a request of Redis's protocol.
func argsOf(request []byte) (args []string) {
	next := func(kind byte) int {
		line, rest, ok := bytes.Cut(request, []byte("\r\n"))
		request = rest
		if !ok || len(line) < 2 || line[0] != kind {
			return -1
		}
		n, err := strconv.Atoi(string(line[1:]))
		if err != nil {
			return -1
		}
		return n
	}
	for range next('*') {
		n := next('$')
		if n < 0 || len(request) < n+2 {
			return nil
		}
		args = append(args, string(request[:n]))
		request = request[n+2:]
	}
	return args
}

// script returns a function that reports whether a request runs a script with arg, if it
// is not empty, as one of its arguments, and with keys that end in keys.
func script(arg string, keys ...string) func([]string) bool {
	return func(args []string) bool {
		if name := strings.ToLower(args[0]); name != "evalsha" && name != "eval" {
			return false
		}
		for _, end := range keys {
			if !slices.ContainsFunc(args, func(a string) bool { return strings.HasSuffix(a, end) && strings.Contains(a, "{") }) {
				return false
			}
		}
		return arg == "" || slices.Contains(args, arg)
	}
}

// without returns a function that reports whether a request matches, and none of its keys
// ends in keys.
func without(matches func([]string) bool, keys ...string) func([]string) bool {
	return func(args []string) bool {
		return matches(args) && !slices.ContainsFunc(keys, func(end string) bool { return script("", end)(args) })
	}
}
