package upstream

import (
	"bytes"

	"github.com/seed-2903acc3/callq/internal/plaintext"
)

const (
	// maxMessage and maxID bound, in bytes, what is kept of an API's texts.
	maxMessage = 1024
	maxID      = 256
)

// sanitize returns untrusted text as [plaintext.Clean] does. The result shares no memory
// with b.
func sanitize(b []byte, limit int) string {
	b = bytes.TrimSpace(b)
	return plaintext.Clean(string(b[:min(len(b), 2*limit)]), limit)
}
