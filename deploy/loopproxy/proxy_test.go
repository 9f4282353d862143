package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestGatewayReadsTheRoutes(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n" +
		"eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\n"
	got, err := gateway(strings.NewReader(table))
	if want := netip.MustParseAddr("172.18.0.1"); err != nil || got != want {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	for _, bad := range []string{"", "Iface\tDestination\tGateway\n", "e\t00000000\txyz\n", "e\t00000000\t0100\n"} {
		if got, err := gateway(strings.NewReader(bad)); err == nil {
			t.Errorf("gateway(%q) = %v, want an error", bad, got)
		}
	}
}

func TestAnAllowedPeerIsForwarded(t *testing.T) {
	conn := connect(t, "127.0.0.0/8")
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "echo hello" {
		t.Errorf("got %q, %v, want %q", got, err, "echo hello")
	}
}

func TestOtherPeersAreRefused(t *testing.T) {
	conn := connect(t, "192.0.2.1/32")
	// The connection may be closed or reset; either way there is no answer.
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("got %q, want nothing", got)
	}
}

// connect connects to a proxy that allows the prefix from. The target answers with what it
// has read.
func connect(t *testing.T, from string) net.Conn {
	t.Helper()
	server := listen(t)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			read, _ := io.ReadAll(conn)
			_, _ = conn.Write(append([]byte("echo "), read...))
			_ = conn.Close()
		}
	}()
	p := &proxy{
		target: server.Addr().String(), allowed: []netip.Prefix{netip.MustParsePrefix(from)},
		log: slog.New(slog.DiscardHandler),
	}
	entry := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.serve(ctx, entry) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	conn, err := net.Dial("tcp", entry.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}
