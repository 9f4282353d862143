package upstream

import (
	"errors"
	"net"
	"syscall"
)

// ErrMachine is wrapped by the Err of an Answer whose request was not sent because this
// machine has no file descriptor, port, memory or network left. That says nothing about
// the API or the call.
var ErrMachine = errors.New("this machine cannot make connections")

// machineError says what this machine lacks and what to do.
type machineError struct{ text string }

func (e *machineError) Error() string { return ErrMachine.Error() + ": " + e.text }

func (*machineError) Unwrap() error { return ErrMachine }

// routeError returns the error that prevents this machine from reaching any network; nil
// if it has a network. It is a variable for tests.
var routeError = probeRoutes

// machineErrorOf returns the error of this machine that caused err; nil if the cause is
// another one.
func machineErrorOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return explainErrno(errno, err)
	}
	// The error of the resolver does not wrap its cause. If a server said that there is
	// no such host, there is a network.
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsNotFound {
		if cause := routeError(); errors.As(cause, &errno) {
			return explainErrno(errno, cause)
		}
	}
	return nil
}

// explainErrno returns the machineError for errno; nil if errno is not an error of this
// machine.
func explainErrno(errno syscall.Errno, err error) error {
	switch errno {
	case syscall.EMFILE:
		return &machineError{"too many open files in this process; raise its limit (ulimit -n) or lower concurrency"}
	case syscall.ENFILE:
		return &machineError{"too many open files on the whole system; close some, or raise fs.file-max"}
	case syscall.ENOMEM, syscall.ENOBUFS:
		return &machineError{"no memory left for connections (" + errno.Error() + ")"}
	case syscall.EADDRNOTAVAIL:
		if remoteIPv6(err) && routeError() == nil {
			return nil // this machine has no IPv6 address, but it has an IPv4 address
		}
		return &machineError{"no local port is free; lower concurrency, or widen net.ipv4.ip_local_port_range"}
	case syscall.ENETDOWN:
		return &machineError{"the network is down"}
	case syscall.ENETUNREACH:
		if routeError() == nil {
			return nil // there is a network, but no route to this host
		}
		return &machineError{"no network: there is no route to any host"}
	}
	return nil
}

func remoteIPv6(err error) bool {
	var op *net.OpError
	if !errors.As(err, &op) {
		return false
	}
	addr, ok := op.Addr.(*net.TCPAddr)
	return ok && addr.IP.To4() == nil
}

// probeRoutes asks the system for a route to addresses that are reserved for
// documentation (RFC 5737, RFC 3849). It sends nothing.
func probeRoutes() error {
	var first error
	for _, address := range []string{"192.0.2.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", address)
		if err == nil {
			_ = conn.Close()
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}
