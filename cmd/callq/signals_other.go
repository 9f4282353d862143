//go:build !unix

package main

// notifyLimits does nothing: processes have no such limits here.
func (s *signals) notifyLimits() {}
