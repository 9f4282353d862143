//go:build !unix

package filerun

import "os"

// lockFile does nothing where there are no advisory locks.
func lockFile(*os.File) error { return nil }
