// Package minipipe connects to a miniredis in the same process without a port.
//
// miniredis's own Dial returns a bare net.Pipe, on which a Write blocks until it is
// read. A client that writes a pipeline of more than 4 KB and a server that answers its
// first command would wait for each other for ever. With minipipe the server's answers
// are buffered in memory instead.
package minipipe

import (
	"context"
	"io"
	"net"
	"sync"

	"github.com/alicebob/miniredis/v2"
)

// Dialer starts m without a listener and returns a dialer for go-redis. m must not be
// in use yet.
func Dialer(m *miniredis.Miniredis) (func(context.Context, string, string) (net.Conn, error), error) {
	// The only exported call that starts a server without a port.
	first, err := m.Dial()
	if err != nil {
		return nil, err
	}
	if err := first.Close(); err != nil {
		return nil, err
	}
	server := m.Server()
	return func(context.Context, string, string) (net.Conn, error) {
		client, peer := net.Pipe()
		q := &queued{Conn: peer}
		q.more.L = &q.mu
		go q.drain()
		server.ServeConn(q)
		return client, nil
	}, nil
}

// queued is the server's end of a pipe: its Write never blocks.
type queued struct {
	net.Conn
	mu     sync.Mutex
	more   sync.Cond
	buf    []byte
	closed bool
}

func (q *queued) Write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, io.ErrClosedPipe
	}
	q.buf = append(q.buf, p...)
	q.more.Signal()
	return len(p), nil
}

// Close discards what the client has not read yet.
func (q *queued) Close() error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.more.Signal()
	return q.Conn.Close()
}

func (q *queued) drain() {
	for {
		q.mu.Lock()
		for len(q.buf) == 0 && !q.closed {
			q.more.Wait()
		}
		out := q.buf
		q.buf = nil
		closed := q.closed
		q.mu.Unlock()
		if closed {
			return
		}
		if _, err := q.Conn.Write(out); err != nil {
			_ = q.Close()
			return
		}
	}
}
