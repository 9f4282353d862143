package redistest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are the files of a test's own certificate authority, and of a client
// certificate that it has signed.
type Certificates struct{ CA, Cert, Key string }

// TLS starts an empty server like [TCP] that speaks only TLS on its port and requires a
// client certificate signed by the authority. The URL names the files.
func TLS(t testing.TB) (*Node, Certificates) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	binary := Binary(t)
	dir := t.TempDir()
	files, server, err := writeCertificates(dir)
	if err != nil {
		t.Fatal(err)
	}
	addr := ""
	n := startNode(ctx, t, binary, func() ([]string, error) {
		port, err := freePort()
		addr = net.JoinHostPort("127.0.0.1", port)
		return []string{
			"--port", "0", "--tls-port", port, "--tls-cert-file", server.Cert, "--tls-key-file", server.Key, "--tls-ca-cert-file", files.CA,
		}, err
	})
	n.Addr = addr
	query := url.Values{"ca": {files.CA}, "cert": {files.Cert}, "key": {files.Key}}
	n.URL = (&url.URL{Scheme: "rediss", Host: addr, Path: "/0", RawQuery: query.Encode()}).String()
	return n, files
}

// writeCertificates creates an authority, and certificates signed by it for a server on
// the loopback address and for a client.
func writeCertificates(dir string) (client, server Certificates, err error) {
	authority, err := sign(dir, "ca", nil)
	if err != nil {
		return client, server, err
	}
	of := map[string]*signed{}
	for _, name := range []string{"server", "client"} {
		if of[name], err = sign(dir, name, authority); err != nil {
			return client, server, err
		}
	}
	client = Certificates{CA: authority.files.Cert, Cert: of["client"].files.Cert, Key: of["client"].files.Key}
	return client, of["server"].files, nil
}

// signed is a certificate with its key, in memory and in files.
type signed struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	files Certificates
}

// sign creates a certificate; without an authority it is an authority itself.
func sign(dir, name string, authority *signed) (*signed, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	s := &signed{key: key, cert: &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "callq test " + name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: authority == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}}
	parent := authority
	if parent == nil {
		parent = s
	}
	der, err := x509.CreateCertificate(rand.Reader, s.cert, parent.cert, &key.PublicKey, parent.key)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	s.files = Certificates{Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
	for path, block := range map[string]*pem.Block{
		s.files.Cert: {Type: "CERTIFICATE", Bytes: der}, s.files.Key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
	}
	return s, nil
}
