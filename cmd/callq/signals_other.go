//go:build !unix

package main

// notifyLimits does nothing where a process has no such limits.
func (s *signals) notifyLimits() {}
