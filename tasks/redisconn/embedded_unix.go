//go:build linux || darwin || dragonfly || freebsd || netbsd || openbsd

package redisconn

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

var errLocked = errors.New("locked by another process")

// The ways to lock a file: for one process, or shared by several.
const (
	exclusive = syscall.LOCK_EX
	shared    = syscall.LOCK_SH
)

// tryLock takes the lock of the file, or fails with errLocked. The lock lasts until
// every copy of the descriptor is closed, in children too.
func tryLock(path string, how int) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err = relock(f, how|syscall.LOCK_NB); err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, errLocked
	}
	return nil, err
}

// relock changes how an open file is locked.
func relock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

// checkPrivate returns an error unless the folder is a real one that belongs to this
// user and is closed to others.
func checkPrivate(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !info.IsDir() || !ok {
		return fmt.Errorf("%s is not a folder", dir)
	}
	if int(stat.Uid) != os.Geteuid() {
		return fmt.Errorf("the folder %s belongs to another user; name a folder of your own", dir)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return openToOthers(dir)
	}
	return nil
}
