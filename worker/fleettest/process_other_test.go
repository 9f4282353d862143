//go:build !linux

package fleettest

import "syscall"

func tied() *syscall.SysProcAttr { return nil }
