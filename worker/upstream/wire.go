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
	// idleTimeout is under the 60 s after which many balancers hang up, so that
	// a call seldom meets a connection that is being closed.
	idleTimeout = 50 * time.Second
	// maxHeader bounds the header of an answer, in bytes.
	maxHeader = 256 << 10
	// maxFresh is how often a request of which nothing left is given another
	// connection, where a kept one turns out to be dead or must not be used again.
	// That of every kept connection comes on top: other calls may keep more of them
	// meanwhile.
	maxFresh = 10
)

// errCallerLeft is the cause with which a request ends whose caller gave up
// before a byte of it was sent.
var errCallerLeft = errors.New("the caller left")

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// newTransport makes connections for n requests at a time. They speak HTTP/1.1
// only: HTTP/2 sends streams again that a server refused, and its connections
// cannot tell which request a byte belonged to.
func newTransport(n int, files *tlsFiles, dial dialFunc, h *habits) *http.Transport {
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
			return newCountedConn(conn, true, h), nil
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialTLS(ctx, dial, files.config(), network, addr)
			if err != nil {
				return nil, err
			}
			return newCountedConn(conn, false, h), nil
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

// dialTLS shakes hands itself, so that the counted connection carries HTTP and
// not TLS: a TLS connection sends an alert when it closes, and that alert is no
// part of a request.
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

// flight follows one request on its way out.
type flight struct {
	mu         sync.Mutex
	hasConn    bool
	callerLeft bool

	// once reports that the request must not be sent twice, sendBy by when it has to
	// leave.
	once   bool
	sendBy time.Time

	// Only the goroutine that is in RoundTrip touches these.
	conn          *countedConn
	reused        bool
	wrote0, read0 int64
	left          int64
}

func (f *flight) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{GotConn: f.gotConn}
}

func (f *flight) gotConn(info httptrace.GotConnInfo) {
	f.mu.Lock()
	f.hasConn = true
	f.mu.Unlock()
	f.settle()
	f.reused = info.Reused
	for conn := info.Conn; conn != nil; {
		switch c := conn.(type) {
		case *countedConn:
			f.conn, f.wrote0, f.read0 = c, c.wrote.Load(), c.read.Load()
			c.begin(f.once, f.sendBy)
			return
		case interface{ NetConn() net.Conn }:
			conn = c.NetConn()
		default:
			// A connection that counts nothing has to be taken for used.
			f.left++
			return
		}
	}
}

// leave gives the request up, unless it has a connection already.
func (f *flight) leave() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hasConn {
		return false
	}
	f.callerLeft = true
	return true
}

// settle adds up what left on the connection that the request had.
func (f *flight) settle() {
	if f.conn != nil {
		f.left += f.conn.wrote.Load() - f.wrote0
		f.conn = nil
	}
}

// fault is a request that brought no answer.
type fault struct {
	kind policy.Transport
	// again tells that nothing left, and that the fault was a kept connection's.
	again bool
	// notSent tells that nothing was sent, for the caller left before, or this
	// machine could not make a connection.
	notSent bool
	err     error
}

// roundTrip sends req and returns its answer's head. The caller's leaving is
// heeded until the request has a connection; from then on only run, the context
// of req, ends it. After sendBy, where it is not zero, the request does not leave.
func roundTrip(caller context.Context, rt http.RoundTripper, req *http.Request, nonIdempotent bool, sendBy time.Time) (*http.Response, *fault) {
	f := &flight{once: nonIdempotent, sendBy: sendBy}
	run, cancel := context.WithCancelCause(req.Context())
	stop := context.AfterFunc(caller, func() {
		if f.leave() {
			cancel(errCallerLeft)
		}
	})
	resp, err := rt.RoundTrip(req.WithContext(httptrace.WithClientTrace(run, f.trace())))
	stop()
	if err == nil {
		if f.conn != nil {
			f.conn.answeredBy(resp)
		}
		// run ends with the caller's own context, once the body is read.
		return resp, nil
	}
	defer cancel(nil)
	return nil, f.fault(run, err)
}

func (f *flight) fault(run context.Context, err error) *fault {
	tooLong := f.conn != nil && f.conn.read.Load()-f.read0 >= maxHeader
	hadConn := f.conn != nil
	tooLate := hadConn && f.conn.missed()
	f.settle()
	f.mu.Lock()
	callerLeft := f.callerLeft
	f.mu.Unlock()

	late := timedOut(run, err)
	out := &fault{err: unquoted(err)}
	switch {
	case callerLeft && f.left == 0:
		out.notSent = true
	case tooLong:
		out.kind = policy.TransportTooLarge
	case hadConn && !f.reused && refusedByTLS(err):
		// In TLS 1.3 a server judges the client's certificate after the client
		// is through with the handshake, and before it reads the request.
		out.kind = policy.TransportTLS
	case f.left > 0 && late:
		out.kind = policy.TransportTimeoutAfterSend
	case f.left > 0:
		out.kind = policy.TransportResetAfterSend
	case hadConn && late:
		out.kind = policy.TransportTimeoutBeforeSend
	case hadConn:
		out.kind = policy.TransportResetBeforeSend
		out.again = f.reused || tooLate
	default:
		out.kind = connectFault(late, err)
		if cause := machineFault(err); cause != nil {
			out.notSent, out.err = true, cause
		}
	}
	return out
}

// late returns f with text in place of its error, where the end of ctx is what
// ended the request.
func (f *fault) late(ctx context.Context, text string) *fault {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && (f.kind == policy.TransportTimeoutAfterSend || f.kind == policy.TransportTimeoutBeforeSend) {
		f.err = errors.New(text)
	}
	return f
}

// unquoted keeps a line of an answer's head that breaks the protocol out of the
// error: it may be a cookie, or a credential in a spelling that is not looked for.
func unquoted(err error) error {
	var broken textproto.ProtocolError
	if !errors.As(err, &broken) {
		return err
	}
	what, _, _ := strings.Cut(broken.Error(), ":")
	return errors.New("the head of the answer breaks HTTP: " + what)
}

// connectFault names what kept a request from having a connection.
func connectFault(late bool, err error) policy.Transport {
	var (
		dns       *net.DNSError
		handshake handshakeError
	)
	switch {
	case errors.As(err, &dns):
		return policy.TransportDNS
	case late:
		return policy.TransportTimeoutBeforeSend
	case errors.As(err, &handshake) && networkFault(err):
		return policy.TransportResetBeforeSend
	case errors.As(err, &handshake), refusedByTLS(err):
		return policy.TransportTLS
	default:
		return policy.TransportDial
	}
}

// refusedByTLS tells whether one side's TLS refused the other.
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
	// crypto/tls reports alerts so, and keeps their type to itself.
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}

// networkFault tells whether the connection broke, in contrast to a handshake
// that was carried out and failed.
func networkFault(err error) bool {
	var errno syscall.Errno
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.As(err, &errno)
}

func timedOut(ctx context.Context, err error) bool {
	var timeout net.Error
	return errors.Is(ctx.Err(), context.DeadlineExceeded) ||
		errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}
