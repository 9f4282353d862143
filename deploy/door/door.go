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

// dialPatience is how long the target may take to accept.
const dialPatience = 5 * time.Second

// door forwards connections of some peers to one address.
type door struct {
	target  string
	allowed []netip.Prefix
	log     *slog.Logger
}

// serve accepts until ctx ends, then closes the listener and what is open.
func (d *door) serve(ctx context.Context, listener net.Listener) error {
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
		open.Go(func() { d.pass(ctx, conn) })
	}
}

// pass carries one connection both ways until both sides are done.
func (d *door) pass(ctx context.Context, outside net.Conn) {
	defer outside.Close()
	if !d.admits(outside.RemoteAddr()) {
		d.log.Warn("refused a connection that is not from this machine; allow it with -from", "peer", outside.RemoteAddr().String())
		return
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	inside, err := new(net.Dialer).DialContext(dialCtx, "tcp", d.target)
	if err != nil {
		d.log.Warn("the target does not answer", "error", err)
		return
	}
	defer inside.Close()
	stop := context.AfterFunc(ctx, func() {
		_ = outside.Close()
		_ = inside.Close()
	})
	defer stop()
	var ways sync.WaitGroup
	ways.Go(func() { carry(inside, outside) })
	ways.Go(func() { carry(outside, inside) })
	ways.Wait()
}

// carry copies one way and passes the end of it on.
func carry(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (d *door) admits(peer net.Addr) bool {
	at, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return false
	}
	for _, prefix := range d.allowed {
		if prefix.Contains(at.Addr().Unmap()) {
			return true
		}
	}
	return false
}

// gateway finds the default gateway in Linux's table of IPv4 routes, the text
// of /proc/net/route: a header, then a line a route, addresses in hexadecimal
// in the byte order of the machine, which is taken to be little-endian.
func gateway(routes io.Reader) (netip.Addr, error) {
	lines := bufio.NewScanner(routes)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		raw, err := hex.DecodeString(f[2])
		if err != nil || len(raw) != 4 {
			return netip.Addr{}, fmt.Errorf("the gateway %q is no IPv4 address", f[2])
		}
		var addr [4]byte
		binary.LittleEndian.PutUint32(addr[:], binary.BigEndian.Uint32(raw))
		return netip.AddrFrom4(addr), nil
	}
	if err := lines.Err(); err != nil {
		return netip.Addr{}, err
	}
	return netip.Addr{}, errors.New("there is no default route: name with -from who may come in")
}
