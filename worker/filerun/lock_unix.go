//go:build unix

package filerun

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile locks a file against other processes until it is closed. It fails at once if
// the file is locked.
func lockFile(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}
