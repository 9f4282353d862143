package upstream

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

func dialError(errno syscall.Errno, ip string) error {
	return &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 443}, Err: os.NewSyscallError("connect", errno)}
}

// unreachable makes routeError return cause during the test.
func unreachable(t *testing.T, cause error) {
	before := routeError
	routeError = func() error { return cause }
	t.Cleanup(func() { routeError = before })
}

func TestAnErrorOfThisMachineIsNotAnOutcomeOfTheCall(t *testing.T) {
	noRoute := dialError(syscall.ENETUNREACH, "192.0.2.1")
	temporary := &net.DNSError{Err: "read udp: connection refused", Name: "api.example.com", IsTemporary: true}
	unknown := &net.DNSError{Err: "no such host", Name: "api.example.com", IsNotFound: true}
	for _, tt := range []struct {
		name    string
		err     error
		network error // the error of routeError
		local   string
		kind    policy.Transport
	}{
		{"no file descriptor", dialError(syscall.EMFILE, "192.0.2.7"), nil, "ulimit -n", ""},
		{"no file descriptor in the system", dialError(syscall.ENFILE, "192.0.2.7"), nil, "fs.file-max", ""},
		{"no memory", dialError(syscall.ENOMEM, "192.0.2.7"), nil, "no memory", ""},
		{"no buffers", dialError(syscall.ENOBUFS, "192.0.2.7"), nil, "no memory", ""},
		{"no port", dialError(syscall.EADDRNOTAVAIL, "192.0.2.7"), nil, "no local port", ""},
		{"no network interface", dialError(syscall.ENETDOWN, "192.0.2.7"), nil, "network is down", ""},
		{"no route to anywhere", dialError(syscall.ENETUNREACH, "192.0.2.7"), noRoute, "no network", ""},
		{"no resolver and no network", temporary, noRoute, "no network", ""},
		{"no resolver for want of file descriptors", temporary, dialError(syscall.EMFILE, "192.0.2.1"), "ulimit -n", ""},
		{"no route to this host alone", dialError(syscall.ENETUNREACH, "192.0.2.7"), nil, "", policy.TransportDial},
		{"no IPv6 address", dialError(syscall.EADDRNOTAVAIL, "2001:db8::7"), nil, "", policy.TransportDial},
		{"no resolver, but a network", temporary, nil, "", policy.TransportDNS},
		{"no such host", unknown, nil, "", policy.TransportDNS},
		{"no such host, and no network", unknown, noRoute, "", policy.TransportDNS},
		{"refused", dialError(syscall.ECONNREFUSED, "192.0.2.7"), nil, "", policy.TransportDial},
		{"refused on a machine without a network", dialError(syscall.ECONNREFUSED, "127.0.0.1"), noRoute, "", policy.TransportDial},
		{"the host does not answer", dialError(syscall.EHOSTUNREACH, "192.0.2.7"), nil, "", policy.TransportDial},
	} {
		t.Run(tt.name, func(t *testing.T) {
			unreachable(t, tt.network)
			broken := func(cfg *Config) {
				cfg.Dial = func(context.Context, string, string) (net.Conn, error) { return nil, tt.err }
			}
			byToken := func(cfg *Config) {
				broken(cfg)
				cfg.Auth = OAuth2(OAuth2Config{TokenURL: "http://192.0.2.7/token", ClientID: StaticSecret("me"), ClientSecret: StaticSecret("0123456789abc")})
			}
			for at, c := range map[string]*Client{
				"the API": newClient(t, "http://192.0.2.7", broken), "TLS": newClient(t, "https://192.0.2.7", broken), "the token endpoint": newClient(t, "http://192.0.2.7", byToken),
			} {
				got := c.Do(within(t), Request{Method: "POST", Path: "/", Body: []byte("x")})
				local := tt.local != ""
				if got.NotSent != local || errors.Is(got.Err, ErrMachine) != local || !strings.Contains(got.Err.Error(), tt.local) {
					t.Errorf("%s: NotSent %v, %v", at, got.NotSent, got.Err)
				}
				if !local && got.Outcome.Transport != tt.kind {
					t.Errorf("%s: %q, want %q", at, got.Outcome.Transport, tt.kind)
				}
			}
		})
	}
}

func TestAnErrorOfThisMachineAfterARedirectIsAnOutcomeOfTheCall(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		io.WriteString(w, "{}")
	})
	var dials atomic.Int32
	c := newClient(t, s.URL, func(cfg *Config) {
		cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) > 1 {
				return nil, dialError(syscall.EMFILE, "127.0.0.1")
			}
			return new(net.Dialer).DialContext(ctx, network, address)
		}
	})
	if got := c.Do(within(t), Request{Path: "/"}); got.NotSent || got.Outcome.Transport != policy.TransportResetAfterSend {
		t.Errorf("NotSent %v, %+v (%v)", got.NotSent, got.Outcome, got.Err)
	}
}
