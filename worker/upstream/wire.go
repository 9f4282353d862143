package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

const (
	dialTimeout      = 10 * time.Second
	handshakeTimeout = 10 * time.Second
	// idleTimeout is shorter than the 60 s after which many load balancers close an idle
	// connection, so that a call rarely meets a connection that is being closed.
	idleTimeout = 50 * time.Second
	// maxHeader limits the header of an answer, in bytes.
	maxHeader = 256 << 10
	// maxExtraConns, added to the concurrency, limits how often a request of which no
	// byte was sent is moved to another connection because an idle one was dead or must
	// not be used again. There may be as many idle connections as the concurrency, and
	// other calls may add more meanwhile.
	maxExtraConns = 10
)

// errCallerCanceled is the cause with which a request ends if its caller cancels it
// before a byte was sent.
var errCallerCanceled = errors.New("the caller cancelled the call")

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport returns a transport with at most n connections. It uses HTTP/1.1 only:
// with HTTP/2, net/http sends a stream again that a server refused, and the bytes on a
// connection cannot be assigned to one request.
func newTransport(n int, files *tlsFiles, dial dialFunc, server *serverBehavior) *http.Transport {
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment,
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return newCountedConn(conn, true, server), nil
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialTLS(ctx, dial, files.resuming(), network, addr)
			if err != nil {
				return nil, err
			}
			return newCountedConn(conn, false, server), nil
		},
		// For connections through a proxy, which DialTLSContext does not make.
		TLSClientConfig:        files.config(),
		TLSHandshakeTimeout:    handshakeTimeout,
		MaxIdleConns:           n,
		MaxIdleConnsPerHost:    n,
		MaxConnsPerHost:        n,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableCompression:     true,
		Protocols:              protocols,
	}
}

// handshakeError is a TLS handshake that failed.
type handshakeError struct{ error }

func (e handshakeError) Unwrap() error { return e.error }

// dialTLS does the TLS handshake, so that the counted connection carries HTTP and not
// TLS: a TLS connection sends an alert when it closes, which must not be counted as part
// of a request.
func dialTLS(ctx context.Context, dial dialFunc, cfg *tls.Config, network, addr string) (net.Conn, error) {
	raw, err := dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
		_ = raw.Close()
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, handshakeError{err}
	}
	return conn, nil
}

// flight tracks one request until its answer begins.
type flight struct {
	mu       sync.Mutex
	hasConn  bool
	canceled bool

	// nonIdempotent reports that the request must not be sent twice.
	nonIdempotent bool
	// sendBy is the time by which the request must be sent; zero for any time.
	sendBy time.Time

	// Only the goroutine that calls RoundTrip uses these.
	conn   *countedConn
	reused bool
	// wroteBefore and readBefore are the counters of conn at the start of the request.
	wroteBefore, readBefore int64
	// sent is the number of bytes sent on earlier connections.
	sent int64
}

func (f *flight) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: f.gotConn}
}

func (f *flight) gotConn(info httptrace.GotConnInfo) {
	f.mu.Lock()
	f.hasConn = true
	f.mu.Unlock()
	f.addSent()
	f.reused = info.Reused
	for conn := info.Conn; conn != nil; {
		switch c := conn.(type) {
		case *countedConn:
			f.conn, f.wroteBefore, f.readBefore = c, c.wrote.Load(), c.read.Load()
			c.begin(f.nonIdempotent, f.sendBy)
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			// The bytes of this connection are not counted: assume that some were sent.
			f.sent++
			return
		}
	}
}

// cancel cancels the request unless it already has a connection, and reports whether it
// did.
func (f *flight) cancel() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hasConn {
		return false
	}
	f.canceled = true
	return true
}

// addSent adds the bytes sent on the current connection to sent.
func (f *flight) addSent() {
	if f.conn != nil {
		f.sent += f.conn.wrote.Load() - f.wroteBefore
		f.conn = nil
	}
}

// failure describes a request without an answer.
type failure struct {
	kind policy.Transport
	// retryOnNewConn reports that nothing was sent and that the cause was an idle
	// connection.
	retryOnNewConn bool
	// notSent reports that nothing was sent because the caller cancelled the request, or
	// because this machine could not make a connection.
	notSent bool
	// unsent reports that nothing of this request was sent, whatever the cause. The
	// request may be that of a redirect, after one that was sent.
	unsent bool
	err    error
}

// roundTrip sends req and returns the head of its answer. The end of caller cancels the
// request until it has a connection; from then on only the context of req ends it. After
// sendBy, unless it is zero, the request is not sent.
func roundTrip(caller context.Context, rt http.RoundTripper, req *http.Request, nonIdempotent bool, sendBy time.Time) (*http.Response, *failure) {
	f := &flight{nonIdempotent: nonIdempotent, sendBy: sendBy}
	run, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(caller, func() {
		if f.cancel() {
			cancel(errCallerCanceled)
		}
	})
	resp, err := rt.RoundTrip(req.WithContext(httptrace.WithClientTrace(run, f.trace())))
	stop()
	if err == nil {
		if f.conn != nil {
			f.conn.tunnelAnswer(resp)
		}
		// Do not cancel run here: the body is still to be read. It ends with req.Context().
		return resp, nil
	}
	defer cancel(nil)
	return nil, f.failure(run, err)
}

// failure describes why the request has no answer.
func (f *flight) failure(run context.Context, err error) *failure {
	tooLong := f.conn != nil && f.conn.read.Load()-f.readBefore >= maxHeader
	hadConn := f.conn != nil
	refusedLate := hadConn && f.conn.refusedLate()
	f.addSent()
	f.mu.Lock()
	canceled := f.canceled
	f.mu.Unlock()

	late := timedOut(run, err)
	out := &failure{err: withoutAnswerText(err)}
	switch {
	case canceled && f.sent == 0:
		out.notSent = true
	case tooLong:
		out.kind = policy.TransportTooLarge
	case hadConn && !f.reused && refusedByTLS(err):
		// In TLS 1.3 a server checks the certificate of the client after the client has
		// completed the handshake, and before the server reads the request.
		out.kind = policy.TransportTLS
	case f.sent > 0 && late:
		out.kind = policy.TransportTimeoutAfterSend
	case f.sent > 0:
		out.kind = policy.TransportResetAfterSend
	case hadConn && late:
		out.kind = policy.TransportTimeoutBeforeSend
	case hadConn:
		out.kind = policy.TransportResetBeforeSend
		out.retryOnNewConn = f.reused || refusedLate
	default:
		out.kind = connectFailure(late, err)
		if cause := machineErrorOf(err); cause != nil {
			out.notSent, out.err = true, cause
		}
	}
	return out
}

// withTimeoutText replaces the error of f by text if the deadline of ctx ended the request.
func (f *failure) withTimeoutText(ctx context.Context, text string) *failure {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && (f.kind == policy.TransportTimeoutAfterSend || f.kind == policy.TransportTimeoutBeforeSend) {
		f.err = errors.New(text)
	}
	return f
}

// withoutAnswerText removes from a protocol error the quoted line of the answer's head: it
// may contain a cookie, or a credential in an encoding that the redactor does not find.
func withoutAnswerText(err error) error {
	var broken textproto.ProtocolError
	if !errors.As(err, &broken) {
		return err
	}
	what, _, _ := strings.Cut(broken.Error(), ":")
	return errors.New("the head of the answer is not valid HTTP: " + what)
}

// connectFailure returns why a request got no connection.
func connectFailure(late bool, err error) policy.Transport {
	var (
		dns       *net.DNSError
		handshake handshakeError
	)
	switch {
	case errors.As(err, &dns):
		return policy.TransportDNS
	case late:
		return policy.TransportTimeoutBeforeSend
	case errors.As(err, &handshake) && isNetworkError(err):
		return policy.TransportResetBeforeSend
	case errors.As(err, &handshake), refusedByTLS(err):
		return policy.TransportTLS
	default:
		return policy.TransportDial
	}
}

// refusedByTLS reports whether one side refused the other in TLS.
func refusedByTLS(err error) bool {
	var (
		verification *tls.CertificateVerificationError
		record       tls.RecordHeaderError
		authority    x509.UnknownAuthorityError
		hostname     x509.HostnameError
		invalid      x509.CertificateInvalidError
		op           *net.OpError
	)
	if errors.As(err, &verification) || errors.As(err, &record) || errors.As(err, &authority) ||
		errors.As(err, &hostname) || errors.As(err, &invalid) {
		return true
	}
	// crypto/tls reports alerts like this; their type is not exported.
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// isNetworkError reports whether the connection broke, in contrast to a handshake that
// was completed and refused.
func isNetworkError(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &errno)
}

func timedOut(ctx context.Context, err error) bool {
	var timeout net.Error
	return errors.Is(ctx.Err(), context.DeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
