//go:build !unix

package filerun

import "os"

// lockFile does nothing on systems without advisory locks.
func lockFile(*os.File) error { return nil }
