package upstream

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
)

// tlsFiles is the TLS of a client's connections, by files that are read again
// when they change. It is safe for concurrent use.
type tlsFiles struct {
	files TLS
	name  string
	log   *slog.Logger

	mu            sync.Mutex
	ca, cert, key fileMark
	roots         *x509.CertPool
	pair          *tls.Certificate
	// said is the trouble that was logged last: there may be many connections
	// until a person has mended it.
	said string
}

// newTLSFiles reads the files of cfg. Its errors name the field.
func newTLSFiles(cfg Config) (*tlsFiles, error) {
	t := &tlsFiles{files: cfg.TLS, name: cfg.Name, log: cfg.Logger}
	if err := t.readCA(); err != nil {
		return nil, t.failed(err)
	}
	if err := t.readPair(); err != nil {
		return nil, t.failed(err)
	}
	return t, nil
}

// config is the setting for one connection, or for many that take the
// authorities as they are now.
func (t *tlsFiles) config() *tls.Config {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(t.readCA())
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, RootCAs: t.roots}
	if t.files.Cert != "" {
		c.GetClientCertificate = t.clientCertificate
	}
	return c
}

// clientCertificate is asked in each handshake in which the server wants one. As
// crypto/tls does by itself, it gives none that the server would not accept.
func (t *tlsFiles) clientCertificate(wanted *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.note(t.readPair())
	if wanted.SupportsCertificate(t.pair) != nil {
		return &tls.Certificate{}, nil
	}
	return t.pair, nil
}

// note logs why the files that were read last stay in force.
func (t *tlsFiles) note(err error) {
	if err == nil {
		return
	}
	if text := err.Error(); text != t.said {
		t.said = text
		t.log.Warn("the changed TLS files are no use; those read before stay in force", "error", t.failed(err).Error())
	}
}

func (t *tlsFiles) failed(err error) error { return fmt.Errorf("upstream %q: %w", t.name, err) }

func (t *tlsFiles) readCA() error {
	if t.files.CA == "" {
		return nil
	}
	mark, err := markOf(t.files.CA)
	if err != nil {
		return fmt.Errorf("tls.ca: %w", err)
	}
	if t.ca.still(mark) {
		return nil
	}
	pem, err := os.ReadFile(t.files.CA)
	if err != nil {
		return fmt.Errorf("tls.ca: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("tls.ca: %s holds no PEM certificate", t.files.CA)
	}
	t.ca, t.roots = mark, roots
	return nil
}

// readPair reads certificate and key together: while only one of them has been
// rotated they do not fit.
func (t *tlsFiles) readPair() error {
	if t.files.Cert == "" {
		return nil
	}
	cert, err := markOf(t.files.Cert)
	if err != nil {
		return fmt.Errorf("tls.cert: %w", err)
	}
	key, err := markOf(t.files.Key)
	if err != nil {
		return fmt.Errorf("tls.key: %w", err)
	}
	if t.cert.still(cert) && t.key.still(key) {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(t.files.Cert, t.files.Key)
	if err != nil {
		return fmt.Errorf("tls.cert: %w", err)
	}
	t.cert, t.key, t.pair = cert, key, &pair
	return nil
}
