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

// loss is what becomes of a request that a [wire] is to spoil.
type loss string

const (
	// replyLost: Redis has carried the request out, and nobody hears of it.
	replyLost loss = "the reply is lost"
	// replyCut is the same, save that the reply's first bytes arrive.
	replyCut loss = "the reply is cut"
	// requestLost: Redis never gets it.
	requestLost loss = "the request is lost"
)

// wire is a way to Redis that spoils some requests, picked by what they say, and
// then breaks. A proxy sees bytes; this sees which script they ask for.
type wire struct {
	addr  string
	loss  loss
	picks func(args []string) bool

	mu sync.Mutex
	// every is which of the picked requests are spoilt: each third, say, so that
	// what is tried again comes through at last. most is how many in all.
	every, most    int
	picked, spoilt int
	dials          int
}

// dial is the Dialer of a client.
func (w *wire) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	w.mu.Lock()
	w.dials++
	w.mu.Unlock()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", w.addr)
	if err != nil {
		return nil, err
	}
	return &spoilt{Conn: conn, w: w}, nil
}

// spoil tells whether this request is to be spoilt, and counts it.
func (w *wire) spoil(request []byte) bool {
	args := argsOf(request)
	if len(args) == 0 || !w.picks(args) {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.picked++
	if w.picked%w.every != 0 || w.spoilt == w.most {
		return false
	}
	w.spoilt++
	return true
}

func (w *wire) done() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.spoilt
}

// spoilt is one connection. It is used as clients of Redis use theirs: what is
// asked by one write is answered before the next.
type spoilt struct {
	net.Conn
	w *wire
	// doomed tells that the next reply is not to arrive, broken that nothing does
	// any more.
	doomed, broken bool
}

var errBroken = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}

func (s *spoilt) Write(b []byte) (int, error) {
	if !s.w.spoil(b) {
		return s.Conn.Write(b)
	}
	if s.w.loss == requestLost {
		_ = s.Conn.Close()
		return 0, errBroken
	}
	s.doomed = true
	return s.Conn.Write(b)
}

func (s *spoilt) Read(b []byte) (int, error) {
	if s.broken {
		return 0, errBroken
	}
	if !s.doomed {
		return s.Conn.Read(b)
	}
	// Once the reply begins, Redis has carried the request out.
	n, err := s.Conn.Read(b)
	s.broken = true
	_ = s.Conn.Close()
	if err != nil || s.w.loss == replyLost {
		return 0, errBroken
	}
	return max(n/2, 1), nil
}

// argsOf reads the first command of a request, as Redis's protocol writes it.
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

// script tells requests for one of callq's scripts by the keys that they name,
// each by its end, and by an argument.
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

// but is a script that names none of these keys.
func but(is func([]string) bool, keys ...string) func([]string) bool {
	return func(args []string) bool {
		return is(args) && !slices.ContainsFunc(keys, func(end string) bool { return script("", end)(args) })
	}
}
