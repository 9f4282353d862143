//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package broker

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked by another process")

// No server program is ever found on such a system, so that none is started.

func tryLock(string) (*os.File, error) { return nil, errors.ErrUnsupported }

func checkPrivate(string) error { return nil }
