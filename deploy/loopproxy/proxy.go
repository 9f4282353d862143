package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// dialTimeout is how long the target may take to accept a connection.
const dialTimeout = 5 * time.Second

// proxy forwards connections from the allowed addresses to one target.
type proxy struct {
	target  string
	allowed []netip.Prefix
	log     *slog.Logger
}

// serve accepts connections until ctx ends, then closes the listener and all connections.
func (p *proxy) serve(ctx context.Context, listener net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	var open sync.WaitGroup
	defer open.Wait()
	defer cancel() // before the wait
	for {
		conn, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accepting on %s: %w", listener.Addr(), err)
		}
		open.Go(func() { p.forward(ctx, conn) })
	}
}

// forward copies one connection both ways until both sides have closed.
func (p *proxy) forward(ctx context.Context, client net.Conn) {
	defer client.Close()
	if !p.allows(client.RemoteAddr()) {
		p.log.Warn("refused a connection from another machine or container; -from PREFIX allows it", "peer", client.RemoteAddr().String())
		return
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	server, err := new(net.Dialer).DialContext(dialCtx, "tcp", p.target)
	if err != nil {
		p.log.Warn("cannot connect to the target", "error", err)
		return
	}
	defer server.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = client.Close()
		_ = server.Close()
	})
	defer stop()
	var copies sync.WaitGroup
	copies.Go(func() { copyHalf(server, client) })
	copies.Go(func() { copyHalf(client, server) })
	copies.Wait()
}

// copyHalf copies one direction, and closes that direction of to at the end.
func copyHalf(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// allows reports whether the address is in one of the allowed prefixes.
func (p *proxy) allows(peer net.Addr) bool {
	at, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return false
	}
	for _, prefix := range p.allowed {
		if prefix.Contains(at.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// gateway returns the default gateway from Linux's table of IPv4 routes, the text of
// /proc/net/route: a header, then one line for each route. Addresses are hexadecimal, in
// the byte order of the machine; gateway assumes little-endian.
func gateway(routes io.Reader) (netip.Addr, error) {
	lines := bufio.NewScanner(routes)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(f[2])
		if err != nil || len(raw) != 4 {
			return netip.Addr{}, fmt.Errorf("the gateway %q is not an IPv4 address", f[2])
		}
		var addr [4]byte
		binary.LittleEndian.PutUint32(addr[:], binary.BigEndian.Uint32(raw))
		return netip.AddrFrom4(addr), nil
	}
	if err := lines.Err(); err != nil {
		return netip.Addr{}, err
	}
	return netip.Addr{}, errors.New("this network has no default route: give the addresses that may connect with -from PREFIX")
}
