package redistest

import (
	"os"
	"path/filepath"
)

// aofDir is the folder of the append-only file, inside the server's own folder.
const aofDir = "appendonlydir"

// Copy copies the server's append-only file in its present state, as a backup does, and
// returns the copy's folder, which is removed with the test. The server may run.
func (s *Server) Copy() string {
	s.t.Helper()
	to := s.t.TempDir()
	if err := os.CopyFS(filepath.Join(to, aofDir), os.DirFS(filepath.Join(s.dir, aofDir))); err != nil {
		s.t.Fatal(err)
	}
	return to
}

// Restore kills the server and starts it again with the data of a copy.
func (s *Server) Restore(copied string) {
	s.t.Helper()
	s.Kill()
	own := filepath.Join(s.dir, aofDir)
	if err := os.RemoveAll(own); err != nil {
		s.t.Fatal(err)
	}
	if err := os.CopyFS(own, os.DirFS(filepath.Join(copied, aofDir))); err != nil {
		s.t.Fatal(err)
	}
	s.start()
}
