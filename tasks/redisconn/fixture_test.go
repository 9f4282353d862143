package redisconn

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
)

func set(t *testing.T, c *Conn, key, value string) {
	t.Helper()
	if err := c.Client.Set(t.Context(), key, value, 0).Err(); err != nil {
		t.Fatal(c.Explain(err))
	}
}

func mustGet(t *testing.T, c *Conn, key, want string) {
	t.Helper()
	if got, err := c.Client.Get(t.Context(), key).Result(); err != nil || got != want {
		t.Fatalf("%s: got %q, want %q (%v)", key, got, want, c.Explain(err))
	}
}

// eventually polls until ok holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("timeout: no " + what)
		}
	}
}

// freePort returns a TCP port that was free a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

type tcpServer struct {
	addr string
	kill func()
}

// startTCP runs a real server on a TCP port of this machine until the test ends.
func startTCP(t *testing.T, args ...string) tcpServer {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(redistest.Binary(t), append(args, "--port", port, "--bind", "127.0.0.1", "--save", "")...)
	cmd.Dir = t.TempDir()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := tcpServer{addr: "127.0.0.1:" + port, kill: func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}}
	t.Cleanup(s.kill)
	eventually(t, "the server's port", func() bool {
		conn, err := net.Dial("tcp", s.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return s
}

func open(t *testing.T, url string, opts Options) *Conn {
	t.Helper()
	c, err := Open(t.Context(), url, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// refused opens the URL and requires an error of the given kind that does not contain
// hunter22.
func refused(t *testing.T, url string, kind redisinfo.Kind) {
	t.Helper()
	refusedWithin(t, 30*time.Second, url, kind)
}

func refusedWithin(t *testing.T, limit time.Duration, url string, kind redisinfo.Kind) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	c, err := Open(ctx, url, Options{})
	if err == nil {
		_ = c.Close()
	}
	var e *redisinfo.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("%s: got %v, want %s", url, err, kind)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, err), "hunter22") {
		t.Errorf("%s: the secret is in %v", url, err)
	}
}

// certificate makes a certificate that is signed by the parent, or by itself as a CA.
func certificate(t *testing.T, parent *x509.Certificate, parentKey *ecdsa.PrivateKey, name string) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	if parent == nil {
		parent, parentKey, tmpl.DNSNames = tmpl, key, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c, key
}
