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

func TestTheGatewayIsReadFromTheRoutes(t *testing.T) {
	const table = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n" +
		"eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\n" +
		"eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\n"
	got, err := gateway(strings.NewReader(table))
	if err != nil || got != netip.MustParseAddr("172.18.0.1") {
		t.Errorf("got %v, %v", got, err)
	}
	for _, busted := range []string{"", "Iface\tDestination\tGateway\n", "e\t00000000\txyz\n", "e\t00000000\t0100\n"} {
		if got, err := gateway(strings.NewReader(busted)); err == nil {
			t.Errorf("%q gave %v", busted, got)
		}
	}
}

func TestTheMachineComesInAndIsAnswered(t *testing.T) {
	conn := knock(t, "127.0.0.0/8")
	if _, err := conn.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || string(got) != "heard hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestOthersStayOutside(t *testing.T) {
	conn := knock(t, "192.0.2.1/32")
	// Unanswered either way: an end, or a reset.
	if got, _ := io.ReadAll(conn); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

// knock connects to a door that lets in from, before a server that repeats what
// it heard.
func knock(t *testing.T, from string) net.Conn {
	t.Helper()
	server := listen(t)
	go func() {
		for {
			conn, err := server.Accept()
			if err != nil {
				return
			}
			heard, _ := io.ReadAll(conn)
			_, _ = conn.Write(append([]byte("heard "), heard...))
			_ = conn.Close()
		}
	}()
	d := &door{
		target: server.Addr().String(), allowed: []netip.Prefix{netip.MustParsePrefix(from)},
		log: slog.New(slog.DiscardHandler),
	}
	entry := listen(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.serve(ctx, entry) }()
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
