package upstream

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

// certificate returns a self-signed certificate for 127.0.0.1 and its key, in PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &secret.PublicKey, secret)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, b []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", pkcs8)
}

// freshConnections makes every call open a new connection.
func freshConnections(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

func TestANewClientCertificateIsUsedByTheNextConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		freshConnections(w)
		w.Header().Set("X-Correlation-Id", r.TLS.PeerCertificates[0].Subject.CommonName)
		answerOK(w, r)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	dir := t.TempDir()
	ca, cert, key := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFile(t, ca, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})))
	cert1, key1 := certificate(t, "one")
	cert2, key2 := certificate(t, "two")
	writeFile(t, cert, cert1)
	writeFile(t, key, key1)
	var logged bytes.Buffer
	c := newClient(t, s.URL, func(cfg *Config) {
		cfg.TLS, cfg.Logger = TLS{CA: ca, Cert: cert, Key: key}, slog.New(slog.NewTextHandler(&logged, nil))
	})
	expectShown := func(want string) {
		t.Helper()
		if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil || a.Kept.CorrelationID != want {
			t.Errorf("got certificate %q, want %q (%v)", a.Kept.CorrelationID, want, a.Err)
		}
	}
	expectShown("one")
	writeFile(t, cert, cert2)
	expectShown("one") // the key does not match the certificate yet
	expectShown("one")
	writeFile(t, key, key2)
	expectShown("two")
	writeFile(t, key, "")
	expectShown("two")
	if n := strings.Count(logged.String(), "tls.cert"); n != 2 || strings.Contains(logged.String(), "BEGIN") {
		t.Errorf("got %d warnings, want 2: %s", n, &logged)
	}
}

func TestANewAuthorityIsTrustedByTheNextConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		freshConnections(w)
		answerOK(w, r)
	}))
	s.Config.ErrorLog = quiet
	cert1, key1 := certificate(t, "one")
	cert2, key2 := certificate(t, "two")
	in := make(chan tls.Certificate, 1)
	serveWith := func(cert, key string) {
		pair, err := tls.X509KeyPair([]byte(cert), []byte(key))
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-in:
		default:
		}
		in <- pair
	}
	serveWith(cert1, key1)
	// A resumed session shows no certificate.
	s.TLS = &tls.Config{SessionTicketsDisabled: true, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair := <-in
		in <- pair
		return &pair, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	// httptest adds its own certificate, which takes precedence.
	s.TLS.Certificates = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, cert1)
	c := newClient(t, s.URL, func(cfg *Config) { cfg.TLS.CA = ca })
	expectTransport := func(want policy.Transport) {
		t.Helper()
		if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Transport != want {
			t.Errorf("got transport %q, want %q (%v)", a.Outcome.Transport, want, a.Err)
		}
	}
	expectTransport(policy.TransportNone)
	serveWith(cert2, key2)
	expectTransport(policy.TransportTLS)
	writeFile(t, ca, "half a rotation")
	expectTransport(policy.TransportTLS)
	writeFile(t, ca, cert1+cert2)
	expectTransport(policy.TransportNone)
	serveWith(cert1, key1)
	expectTransport(policy.TransportNone)
	writeFile(t, ca, cert2)
	expectTransport(policy.TransportTLS)
}

// Connections through a proxy use TLSClientConfig, not DialTLSContext.
func TestANewClientCertificateIsUsedThroughAProxyToo(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert1, key1 := certificate(t, "one")
	cert2, key2 := certificate(t, "two")
	writeFile(t, cert, cert1)
	writeFile(t, key, key1)
	c := newClient(t, "https://api.invalid", func(cfg *Config) { cfg.TLS = TLS{Cert: cert, Key: key} })
	behind := c.rt.TLSClientConfig.Clone()
	behind.InsecureSkipVerify = true
	shown := func() string {
		here, there := net.Pipe()
		defer here.Close()
		defer there.Close()
		pair, err := tls.X509KeyPair([]byte(cert1), []byte(key1))
		if err != nil {
			t.Fatal(err)
		}
		server := tls.Server(there, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAnyClientCert})
		done := make(chan error, 1)
		go func() {
			client := tls.Client(here, behind)
			err := client.HandshakeContext(within(t))
			done <- err
			_, _ = io.Copy(io.Discard, client)
		}()
		if err := server.HandshakeContext(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		return server.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := shown(); got != "one" {
		t.Errorf("got certificate %q", got)
	}
	writeFile(t, cert, cert2)
	writeFile(t, key, key2)
	if got := shown(); got != "two" {
		t.Errorf("got certificate %q", got)
	}
}

func TestANewConnectionResumesTheTLSSessionUntilAFileChanges(t *testing.T) {
	resumed := make(chan bool, 1)
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resumed <- r.TLS.DidResume
		freshConnections(w)
		answerOK(w, r)
	}))
	t.Cleanup(s.Close)
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, authority)
	c := newClient(t, s.URL, func(cfg *Config) { cfg.TLS = TLS{CA: ca} })
	expect := func(when string, want bool) {
		t.Helper()
		if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil {
			t.Fatal(a.Err)
		}
		if got := <-resumed; got != want {
			t.Errorf("%s: resumed %v, want %v", when, got, want)
		}
	}
	expect("the first connection", false)
	expect("the second connection", true)
	other, _ := certificate(t, "other")
	writeFile(t, ca, authority+other)
	expect("after a change of the file", false)
}
