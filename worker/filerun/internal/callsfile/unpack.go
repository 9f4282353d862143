package callsfile

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Packing is the compression of a file. The zero value means none.
type Packing string

// The supported compressions.
const (
	Gzip Packing = "gzip"
	Zstd Packing = "zstd"
)

// PackingOf returns the compression that the name of a file indicates.
func PackingOf(name string) Packing {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".gz"):
		return Gzip
	case strings.HasSuffix(lower, ".zst"):
		return Zstd
	}
	return ""
}

// maxWindow is the maximum window of zstd, in bytes, the same as with the option --long=27 of its command.
const maxWindow = 128 << 20

// Unpack returns a reader of the decompressed content of r; it is r itself if p is empty. Consecutive members are one text. The
// memory is limited for any data. For incomplete or damaged data, Read returns a [*PackedError].
func Unpack(r io.Reader, p Packing) (io.ReadCloser, error) {
	in := &counted{buffered: bufio.NewReaderSize(r, 1<<16)}
	switch p {
	case Gzip:
		return &unpacked{in: in, packing: p, from: &gzipMembers{in: in}}, nil
	case Zstd:
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return &unpacked{in: in, packing: p, from: z, done: z.Close}, nil
	}
	return io.NopCloser(r), nil
}

// PackedError means that compressed data cannot be decompressed to its end.
type PackedError struct {
	Packing Packing
	// Offset is the number of bytes of the compressed data that were read.
	Offset int64
	// Cut reports that the data ends too early; otherwise Err says what is wrong.
	Cut bool
	Err error
}

// Error says where the error is and what to do.
func (e *PackedError) Error() string {
	if e.Cut {
		return fmt.Sprintf("the %s data is cut off after byte %d; get the whole file again", e.Packing, e.Offset)
	}
	return fmt.Sprintf("the %s data is damaged near byte %d (%v); get the file again", e.Packing, e.Offset, e.Err)
}

// Unwrap returns the error of the decoder.
func (e *PackedError) Unwrap() error { return e.Err }

// unpacked adds the position to errors in the data, and returns read errors of the file unchanged.
type unpacked struct {
	in      *counted
	packing Packing
	from    io.Reader
	done    func()
}

// Read implements [io.Reader].
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	switch {
	case err == nil || u.in.err != nil && errors.Is(err, u.in.err):
	case errors.Is(err, io.EOF) && u.in.n > 0:
		// The end. Even an empty text takes some bytes when it is compressed.
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = &PackedError{Packing: u.packing, Offset: u.in.n, Cut: true, Err: io.ErrUnexpectedEOF}
	default:
		err = &PackedError{Packing: u.packing, Offset: u.in.n, Err: err}
	}
	return n, err
}

// Close frees the decoder. It does not close the underlying reader.
func (u *unpacked) Close() error {
	if u.done != nil {
		u.done()
	}
	return nil
}

// counted counts the bytes that a decoder reads, and remembers the error of the underlying reader. It is an [io.ByteReader], so
// that the gzip decoder reads no more bytes than it needs.
type counted struct {
	buffered *bufio.Reader
	n        int64
	err      error
}

// Read implements [io.Reader].
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.buffered.Read(p)
	c.n += int64(n)
	return n, c.remember(err)
}

// ReadByte implements [io.ByteReader].
func (c *counted) ReadByte() (byte, error) {
	b, err := c.buffered.ReadByte()
	if err == nil {
		c.n++
	}
	return b, c.remember(err)
}

func (c *counted) remember(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return err
}

// gzipMembers reads consecutive gzip members (RFC 1952, 2.2). Like the gzip command, it ignores zero bytes after the last one,
// which are the padding of tapes and block devices.
type gzipMembers struct {
	in     *counted
	member *gzip.Reader
}

// Read implements [io.Reader].
func (g *gzipMembers) Read(p []byte) (int, error) {
	if g.member == nil {
		member, err := gzip.NewReader(g.in)
		if err != nil {
			return 0, err
		}
		member.Multistream(false)
		g.member = member
	}
	for {
		n, err := g.member.Read(p)
		if n > 0 || !errors.Is(err, io.EOF) {
			if errors.Is(err, io.EOF) {
				err = nil // the next call reads the next member
			}
			return n, err
		}
		if err := g.skipPadding(); err != nil {
			return 0, err
		}
		if err := g.member.Reset(g.in); err != nil {
			return 0, err
		}
		g.member.Multistream(false)
	}
}

// skipPadding returns io.EOF if only padding follows.
func (g *gzipMembers) skipPadding() error {
	for padded := false; ; padded = true {
		b, err := g.in.ReadByte()
		switch {
		case err != nil:
			return err
		case b == 0:
			continue
		case padded || b != 0x1f: // the first byte of a member
			return gzip.ErrHeader
		}
		g.in.n--
		return g.in.buffered.UnreadByte()
	}
}
