package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/seed-2903acc3/callq/worker/admin/problem"
)

const (
	// maxUploads is how many batches and large calls are received at once. Each takes some
	// megabytes.
	maxUploads = 8
	// maxDownloads is how many results and events are sent at once.
	maxDownloads = 64
	// idleTimeout is how long a client may send nothing, or take nothing, of a stream, and
	// how long it may need for a body that is not a stream.
	idleTimeout = time.Minute
	// answerTimeout is how long a client may need to take an answer that is not a stream.
	answerTimeout = 30 * time.Second
	// retryAfterFull is in how many seconds a client is to try again if too many streams
	// are open.
	retryAfterFull = "5"
)

// Streams counts the open streams of a server, and ends them when it stops. It is kept when
// the configuration changes. It is safe for concurrent use.
type Streams struct {
	uploads, downloads chan struct{}
	stopped            chan struct{}
	stop               sync.Once
	// idle is how long a client may send nothing, or take nothing.
	idle time.Duration
}

// NewStreams returns the streams of a server.
func NewStreams() *Streams {
	return &Streams{
		uploads: make(chan struct{}, maxUploads), downloads: make(chan struct{}, maxDownloads), stopped: make(chan struct{}), idle: idleTimeout,
	}
}

// Stop ends the open streams. What they have accepted stays, and readers can continue
// elsewhere.
func (s *Streams) Stop() { s.stop.Do(func() { close(s.stopped) }) }

// begin begins a stream of one kind. end must be called at its end. ok is false if too many
// are open.
func begin(kind chan struct{}) (end func(), ok bool) {
	select {
	case kind <- struct{}{}:
		return func() { <-kind }, true
	default:
		return nil, false
	}
}

// full is the problem if too many streams are open.
func full() *problem.Problem {
	return problem.New(http.StatusServiceUnavailable, "too many streams are open on this server; try again in a few seconds")
}

// context returns a context that ends with the stream's own, and when the server stops.
func (s *Streams) context(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		select {
		case <-s.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// bodyError is an error of the client's connection while it sends a body.
type bodyError struct{ err error }

func (e *bodyError) Error() string { return "read the request's body: " + e.err.Error() }
func (e *bodyError) Unwrap() error { return e.err }

// hangs reports whether the client sent nothing for too long.
func (e *bodyError) hangs() bool { return errors.Is(e.err, os.ErrDeadlineExceeded) }

// upload reads the body of a stream. The server's own time for a whole request does not
// apply; the client has a time for each read.
type upload struct {
	body       io.Reader
	controller *http.ResponseController
	streams    *Streams
}

// Read implements [io.Reader]. Its errors are a *bodyError, except at the end.
func (u *upload) Read(p []byte) (int, error) {
	select {
	case <-u.streams.stopped:
		return 0, &bodyError{http.ErrServerClosed}
	default:
	}
	_ = u.controller.SetReadDeadline(time.Now().Add(u.streams.idle)) // a test's recorder has none
	n, err := u.body.Read(p)
	if err != nil && err != io.EOF {
		err = &bodyError{err}
	}
	return n, err
}

// download writes a stream. The server's own time for an answer does not apply; the client
// has a time for each write.
type download struct {
	w          io.Writer
	controller *http.ResponseController
	idle       time.Duration
}

// Write implements [io.Writer].
func (d *download) Write(p []byte) (int, error) {
	_ = d.controller.SetWriteDeadline(time.Now().Add(d.idle)) // a test's recorder has none
	return d.w.Write(p)
}

// flush sends what was written so far.
func (d *download) flush() error {
	_ = d.controller.SetWriteDeadline(time.Now().Add(d.idle))
	return d.controller.Flush()
}
