//go:build !unix

package redistest

// Pause skips the test: this system has no signal that stops a process until it is resumed.
func (s *Server) Pause() {
	s.t.Helper()
	s.t.Skip("a hung redis-server needs SIGSTOP, which this system does not have")
}

// Resume does nothing, since Pause does nothing.
func (s *Server) Resume() {}
