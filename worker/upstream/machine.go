package upstream

import (
	"errors"
	"net"
	"syscall"
)

// ErrMachine is wrapped by the Err of an Answer whose request did not go out for a
// fault of this machine: it has no file descriptor, port, memory or network. That
// is nobody's answer and says nothing of the API or of the call.
var ErrMachine = errors.New("this machine cannot make connections")

// machineError is a fault of this machine, in words that a person can act on.
type machineError struct{ text string }

func (e *machineError) Error() string { return ErrMachine.Error() + ": " + e.text }

func (*machineError) Unwrap() error { return ErrMachine }

// reach reports what keeps this machine from every network; nil: nothing does. It
// is a variable for tests.
var reach = probeRoutes

// machineFault returns the fault of this machine that err stems from; nil: it is
// the fault of something else.
func machineFault(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return faultOf(errno, err)
	}
	// The resolver keeps the cause of its error to itself. Where a server said
	// that there is no such host, a network is there.
	var dns *net.DNSError
	if errors.As(err, &dns) && !dns.IsNotFound {
		if cause := reach(); errors.As(cause, &errno) {
			return faultOf(errno, cause)
		}
	}
	return nil
}

func faultOf(errno syscall.Errno, err error) error {
	switch errno {
	case syscall.EMFILE:
		return &machineError{"too many open files in this process; raise its limit (ulimit -n) or lower concurrency"}
	case syscall.ENFILE:
		return &machineError{"too many open files on the whole system; close some, or raise fs.file-max"}
	case syscall.ENOMEM, syscall.ENOBUFS:
		return &machineError{"no memory is left for connections (" + errno.Error() + ")"}
	case syscall.EADDRNOTAVAIL:
		if remoteIPv6(err) && reach() == nil {
			return nil // this machine has no address of that kind, but another one
		}
		return &machineError{"no local port is free; lower concurrency, or widen net.ipv4.ip_local_port_range"}
	case syscall.ENETDOWN:
		return &machineError{"the network is down"}
	case syscall.ENETUNREACH:
		if reach() == nil {
			return nil // there is a network, and no way to this host
		}
		return &machineError{"it has no network: there is no route to anywhere"}
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
// documents (RFC 5737, RFC 3849). It sends nothing.
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
