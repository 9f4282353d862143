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

// certificate is a self-signed one for 127.0.0.1, in PEM.
func certificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sheet := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, sheet, sheet, &secret.PublicKey, secret)
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

// freshConnections makes every call take a connection of its own.
func freshConnections(w http.ResponseWriter) { w.Header().Set("Connection", "close") }

func TestAClientCertificateThatChangesIsUsedByTheNextConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		freshConnections(w)
		w.Header().Set("X-Correlation-Id", r.TLS.PeerCertificates[0].Subject.CommonName)
		wellDone(w, r)
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
	var said bytes.Buffer
	c := newClient(t, s.URL, func(cfg *Config) {
		cfg.TLS, cfg.Logger = TLS{CA: ca, Cert: cert, Key: key}, slog.New(slog.NewTextHandler(&said, nil))
	})
	shows := func(want string) {
		t.Helper()
		if a := c.Do(within(t), Request{Path: "/"}); a.Err != nil || a.Kept.CorrelationID != want {
			t.Errorf("showed %q, want %q (%v)", a.Kept.CorrelationID, want, a.Err)
		}
	}
	shows("one")
	writeFile(t, cert, cert2)
	shows("one") // the key does not fit it yet
	shows("one")
	writeFile(t, key, key2)
	shows("two")
	writeFile(t, key, "")
	shows("two")
	if n := strings.Count(said.String(), "tls.cert"); n != 2 || strings.Contains(said.String(), "BEGIN") {
		t.Errorf("said, not twice: %s", &said)
	}
}

func TestAnAuthorityThatChangesIsTrustedByTheNextConnection(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		freshConnections(w)
		wellDone(w, r)
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
	s.TLS = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair := <-in
		in <- pair
		return &pair, nil
	}}
	s.StartTLS()
	t.Cleanup(s.Close)
	// httptest puts its own certificate in front.
	s.TLS.Certificates = nil
	ca := filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, cert1)
	c := newClient(t, s.URL, func(cfg *Config) { cfg.TLS.CA = ca })
	meets := func(want policy.Transport) {
		t.Helper()
		if a := c.Do(within(t), Request{Path: "/"}); a.Outcome.Transport != want {
			t.Errorf("met %q, want %q (%v)", a.Outcome.Transport, want, a.Err)
		}
	}
	meets(policy.TransportNone)
	serveWith(cert2, key2)
	meets(policy.TransportTLS)
	writeFile(t, ca, "half a rotation")
	meets(policy.TransportTLS)
	writeFile(t, ca, cert1+cert2)
	meets(policy.TransportNone)
	serveWith(cert1, key1)
	meets(policy.TransportNone)
	writeFile(t, ca, cert2)
	meets(policy.TransportTLS)
}

// A client that shows a certificate through a proxy has to ask for it there too.
func TestAClientCertificateChangesBehindAProxyToo(t *testing.T) {
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
		t.Errorf("showed %q", got)
	}
	writeFile(t, cert, cert2)
	writeFile(t, key, key2)
	if got := shown(); got != "two" {
		t.Errorf("showed %q", got)
	}
}
