package fleettest

import "syscall"

// tied returns the attributes of a process that is killed when the tests die without
// cleaning up, as at a time-out.
func tied() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
