// Command loopproxy publishes a loopback address of a container to the machine
// that the container runs on, and to no other machine or container.
//
// A connection to a port that Docker publishes on 127.0.0.1 comes into the
// container from outside. So a program that listens on the container's loopback
// cannot be published, and a program that listens on all addresses of the
// container is open to every container of the network. loopproxy listens on all
// addresses, accepts only connections from the network's gateway, which is the
// machine itself, and forwards them:
//
//	loopproxy -listen :8081 -to 127.0.0.1:8080
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loopproxy:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("loopproxy", flag.ContinueOnError)
	listen := flags.String("listen", ":8081", "`ADDRESS` to listen on")
	to := flags.String("to", "127.0.0.1:8080", "`ADDRESS` to forward to")
	from := flags.String("from", "", "`PREFIX` of the addresses that may connect (default the gateway)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	p := &proxy{target: *to, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if *from != "" {
		prefix, err := netip.ParsePrefix(*from)
		if err != nil {
			return fmt.Errorf("-from: %w; write it as 192.0.2.0/24", err)
		}
		p.allowed = []netip.Prefix{prefix}
	} else {
		addr, err := hostAddr()
		if err != nil {
			return err
		}
		p.allowed = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	p.log.Info("listening", "listen", listener.Addr().String(), "to", p.target, "from", p.allowed[0].String())
	return p.serve(ctx, listener)
}

// hostAddr returns the address from which connections of the machine itself come.
func hostAddr() (netip.Addr, error) {
	routes, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	defer routes.Close()
	return gateway(routes)
}
