package upstream

import (
	"encoding/binary"
	"io"

	"github.com/seed-2903acc3/callq/worker/spool"
)

// spooled reads a body into memory, or into a file where it is large.
func spooled(r io.Reader, expected int64) (content, error) {
	b, file, err := spool.Read(r, expected)
	return content{bytes: b, file: file}, err
}

// load has the body in memory for as long as it is worked on, which waits until there
// is room for it. A body that cannot be read back is cut.
func (c *Client) load(body content, codings []string) (loaded content, release func()) {
	need := body.size()
	if len(codings) > 0 {
		need += 2 * min(unpacked(body, codings), c.cfg.MaxBody)
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
		c.cfg.Logger.Warn("an answer is lost", "upstream", c.cfg.Name, "error", err)
		return content{cut: true, file: body.file}, release
	}
	body.bytes = bytes
	return body, release
}

// unpacked is about how many bytes an encoded body has once it is decoded: gzip says
// so in its last four (RFC 1952, 2.3.1). It is only an estimate.
func unpacked(body content, codings []string) int64 {
	said := int64(0)
	if coding := codings[len(codings)-1]; coding == "gzip" || coding == "x-gzip" {
		said = int64(binary.LittleEndian.Uint32(body.last4()))
	}
	return max(said, 4*body.size())
}

// last4 are the last four bytes of a body; zeros where it is shorter.
func (c content) last4() []byte {
	last := make([]byte, 4)
	switch {
	case c.file != nil:
		c.file.Tail(last)
	case len(c.bytes) >= 4:
		copy(last, c.bytes[len(c.bytes)-4:])
	}
	return last
}

// store puts a large body into its file again, as it is now: before is how it stood
// there. Where that fails it stays in memory.
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
