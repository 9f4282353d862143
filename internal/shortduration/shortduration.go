// Package shortduration formats durations as people write them in a configuration.
package shortduration

import (
	"strings"
	"time"
)

// Text returns a duration in Go's notation without zeros at the end: 24h, not 24h0m0s.
func Text(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
