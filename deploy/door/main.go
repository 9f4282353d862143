// Command door publishes a loopback address of a container to the machine that
// the container runs on, and to nobody else.
//
// A port that Docker publishes on 127.0.0.1 arrives in the container from
// outside of it, so what listens on the container's loopback cannot be
// published, and what listens on all its addresses is open to every container
// of the network. door listens on all addresses, lets in only connections from
// the network's gateway, which is the machine itself, and forwards them:
//
//	door -listen :8081 -to 127.0.0.1:8080
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
		fmt.Fprintln(os.Stderr, "door:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("door", flag.ContinueOnError)
	listen := flags.String("listen", ":8081", "`ADDRESS` to listen on")
	to := flags.String("to", "127.0.0.1:8080", "`ADDRESS` to forward to")
	from := flags.String("from", "", "address `PREFIX` that may come in (default the gateway)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	d := &door{target: *to, log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	if *from != "" {
		prefix, err := netip.ParsePrefix(*from)
		if err != nil {
			return fmt.Errorf("-from: %w; write it as 192.0.2.0/24", err)
		}
		d.allowed = []netip.Prefix{prefix}
	} else {
		addr, err := machine()
		if err != nil {
			return err
		}
		d.allowed = []netip.Prefix{netip.PrefixFrom(addr, addr.BitLen())}
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", *listen)
	if err != nil {
		return err
	}
	d.log.Info("open", "listen", listener.Addr().String(), "to", d.target, "from", d.allowed[0].String())
	return d.serve(ctx, listener)
}

// machine is the address under which the machine itself comes in.
func machine() (netip.Addr, error) {
	routes, err := os.Open("/proc/net/route")
	if err != nil {
		return netip.Addr{}, err
	}
	defer routes.Close()
	return gateway(routes)
}
