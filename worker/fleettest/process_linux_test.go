package fleettest

import "syscall"

// tied returns the attributes of a process that is killed when the tests end without their
// cleanup, as at a timeout.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
