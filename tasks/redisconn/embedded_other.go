//go:build !(linux || darwin || dragonfly || freebsd || netbsd || openbsd)

package redisconn

import (
	"errors"
	"os"
)

var errLocked = errors.New("locked by another process")

// Find returns no server program on such a system, so none is started.

const exclusive, shared = 0, 0

func tryLock(string, int) (*os.File, error) { return nil, errors.ErrUnsupported }

func relock(*os.File, int) error { return errors.ErrUnsupported }

func checkPrivate(string) error { return nil }
