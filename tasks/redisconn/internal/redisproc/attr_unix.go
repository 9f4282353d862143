//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package redisproc

import "syscall"

const supported = true

// Without a parent-death signal a server outlives a callq that was killed; the next
// callq finds it on its socket and uses it.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
