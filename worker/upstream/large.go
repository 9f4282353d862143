package upstream

import (
	"encoding/binary"
	"io"

	"github.com/seed-2903acc3/callq/worker/spool"
)

// readSpooled reads a body into memory, or into a file if it is large.
func readSpooled(r io.Reader, expected int64) (content, error) {
	b, file, err := spool.Read(r, expected)
	return content{bytes: b, file: file}, err
}

// load reads a body back into memory, after it has waited for free memory. Call release
// when the work on the body is done. A body that cannot be read back is cut.
func (c *Client) load(body content, codings []string) (loaded content, release func()) {
	need := body.size()
	if len(codings) > 0 {
		need += 2 * min(estimateDecoded(body, codings), c.cfg.MaxBody)
	}
	release = func() {}
	if need > spool.Large {
		release, _ = c.cfg.Memory.Take(need, nil)
	}
	if body.file == nil {
		return body, release
	}
	bytes, err := body.file.Bytes(0)
	if err != nil {
		c.cfg.Logger.Warn("cannot read the body of an answer back from its temporary file", "upstream", c.cfg.Name, "error", err)
		return content{cut: true, file: body.file}, release
	}
	body.bytes = bytes
	return body, release
}

// estimateDecoded estimates the size of an encoded body in bytes after decoding. gzip
// declares it in its last four bytes (RFC 1952, 2.3.1).
func estimateDecoded(body content, codings []string) int64 {
	declared := int64(0)
	if coding := codings[len(codings)-1]; coding == "gzip" || coding == "x-gzip" {
		declared = int64(binary.LittleEndian.Uint32(body.lastFourBytes()))
	}
	return max(declared, 4*body.size())
}

// lastFourBytes returns the last four bytes of a body, or zeros if it is shorter.
func (c content) lastFourBytes() []byte {
	last := make([]byte, 4)
	switch {
	case c.file != nil:
		c.file.Tail(last)
	case len(c.bytes) >= 4:
		copy(last, c.bytes[len(c.bytes)-4:])
	}
	return last
}

// store writes a large body back to its file if it differs from before, the content of the
// file. If the write fails, the body stays in memory.
func (c *Client) store(body content, file *spool.File, before []byte) ([]byte, *spool.File) {
	if c.cfg.Memory == nil || len(body.bytes) <= spool.Large {
		file.Close()
		return body.bytes, nil
	}
	if file != nil && len(before) == len(body.bytes) && &before[0] == &body.bytes[0] {
		return nil, file
	}
	if file == nil {
		var err error
		if file, err = spool.NewFile(); err != nil {
			return body.bytes, nil
		}
	}
	if err := file.Replace(body.bytes); err != nil {
		file.Close()
		return body.bytes, nil
	}
	return nil, file
}
