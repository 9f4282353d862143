package upstream

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
)

// maxSessions is how many TLS sessions are kept: one for each host, and a base URL has few.
const maxSessions = 16

// tlsFiles makes the TLS configuration of a client from files, which it reads again when
// they change. It is safe for concurrent use.
type tlsFiles struct {
	files TLS
	name  string
	log   *slog.Logger

	mu            sync.Mutex
	ca, cert, key fileStamp
	roots         *x509.CertPool
	pair          *tls.Certificate
	// sessions are those of earlier connections. They are forgotten when a file changes,
	// because a resumed session shows no certificate and is not verified again.
	sessions tls.ClientSessionCache
	// lastWarning is the error that was logged last. Each error is logged once, although
	// every new connection may meet it until a person fixes it.
	lastWarning string
}

// newTLSFiles reads the files of cfg. Its errors name the field of cfg.
func newTLSFiles(cfg Config) (*tlsFiles, error) {
	t := &tlsFiles{files: cfg.TLS, name: cfg.Name, log: cfg.Logger}
	t.forgetSessions()
	if err := t.readCA(); err != nil {
		return nil, t.withUpstream(err)
	}
	if err := t.readPair(); err != nil {
		return nil, t.withUpstream(err)
	}
	return t, nil
}

func (t *tlsFiles) forgetSessions() { t.sessions = tls.NewLRUClientSessionCache(maxSessions) }

// resuming returns the configuration for a new connection, which may resume the session of
// an earlier one: the handshake is shorter then.
func (t *tlsFiles) resuming() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.warn(t.readPair())
	c := t.current()
	c.ClientSessionCache = t.sessions
	return c
}

// config returns the configuration for new connections, with the current authorities. They
// resume no sessions.
func (t *tlsFiles) config() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.current()
}

func (t *tlsFiles) current() *tls.Config {
	t.warn(t.readCA())
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, RootCAs: t.roots}
	if t.files.Cert != "" {
		c.GetClientCertificate = t.clientCertificate
	}
	return c
}

// clientCertificate is called in each handshake in which the server requests a
// certificate. As crypto/tls does by default, it sends none that the server does not
// accept.
func (t *tlsFiles) clientCertificate(wanted *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.warn(t.readPair())
	if wanted.SupportsCertificate(t.pair) != nil {
		return &tls.Certificate{}, nil
	}
	return t.pair, nil
}

// warn logs why the files that were read last stay in use.
func (t *tlsFiles) warn(err error) {
	if err == nil {
		return
	}
	if text := err.Error(); text != t.lastWarning {
		t.lastWarning = text
		t.log.Warn("the changed TLS files cannot be used; the previous ones stay in use", "error", t.withUpstream(err).Error())
	}
}

func (t *tlsFiles) withUpstream(err error) error { return fmt.Errorf("upstream %q: %w", t.name, err) }

func (t *tlsFiles) readCA() error {
	if t.files.CA == "" {
		return nil
	}
	stamp, err := stampOf(t.files.CA)
	if err != nil {
		return fmt.Errorf("tls.ca: %w", err)
	}
	if t.ca.unchanged(stamp) {
		return nil
	}
	pem, err := os.ReadFile(t.files.CA)
	if err != nil {
		return fmt.Errorf("tls.ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls.ca: %s contains no PEM certificate", t.files.CA)
	}
	if !roots.Equal(t.roots) {
		t.forgetSessions()
	}
	t.ca, t.roots = stamp, roots
	return nil
}

// readPair reads certificate and key together: they do not match if only one of them has
// been replaced yet.
func (t *tlsFiles) readPair() error {
	if t.files.Cert == "" {
		return nil
	}
	cert, err := stampOf(t.files.Cert)
	if err != nil {
		return fmt.Errorf("tls.cert: %w", err)
	}
	key, err := stampOf(t.files.Key)
	if err != nil {
		return fmt.Errorf("tls.key: %w", err)
	}
	if t.cert.unchanged(cert) && t.key.unchanged(key) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(t.files.Cert, t.files.Key)
	if err != nil {
		return fmt.Errorf("tls.cert: %w", err)
	}
	if t.pair == nil || !slices.EqualFunc(pair.Certificate, t.pair.Certificate, bytes.Equal) {
		t.forgetSessions()
	}
	t.cert, t.key, t.pair = cert, key, &pair
	return nil
}
