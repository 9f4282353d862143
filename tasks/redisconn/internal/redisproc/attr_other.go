//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package redisproc

import "syscall"

const supported = false

func childAttr() *syscall.SysProcAttr { return nil }
