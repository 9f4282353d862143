//go:build unix

package redistest

import "syscall"

// Pause stops the server's process until Resume: it keeps its connections and answers
// nothing.
func (s *Server) Pause() { s.signal(syscall.SIGSTOP) }

// Resume lets the server continue after Pause.
func (s *Server) Resume() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := syscall.Kill(s.Pid(), sig); err != nil {
		s.t.Fatal(err)
	}
}
