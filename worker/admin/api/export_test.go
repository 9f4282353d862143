package api

import "time"

// SetIdle sets how long a client may send nothing, or take nothing.
func (s *Streams) SetIdle(d time.Duration) { s.idle = d }

// Uploads returns how many batches and large calls are being received.
func (s *Streams) Uploads() int { return len(s.uploads) }

// Open returns how many results and events are being sent.
func (s *Streams) Open() int { return len(s.downloads) }
