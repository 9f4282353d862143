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

// Packing is how a file is compressed. The zero value means that it is not.
type Packing string

// The packings that are read.
const (
	Gzip Packing = "gzip"
	Zstd Packing = "zstd"
)

// PackingOf tells by a file's name how it is compressed.
func PackingOf(name string) Packing {
	switch lower := strings.ToLower(name); {
	case strings.HasSuffix(lower, ".gz"):
		return Gzip
	case strings.HasSuffix(lower, ".zst"):
		return Zstd
	}
	return ""
}

// maxWindow is the most that zstd may ask for, as with its command line tool (--long=27).
const maxWindow = 128 << 20

// Unpack returns what r holds, unpacked while it is read; r itself where p is none. Members that follow one another are one
// text. Memory is bounded whatever the data says. Data that is cut off or damaged ends in a [*PackedError].
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

// PackedError says that compressed data cannot be unpacked to its end.
type PackedError struct {
	Packing Packing
	// Offset is how many bytes of the compressed data had been read.
	Offset int64
	// Cut tells that the data ends too early; else Err says what is wrong.
	Cut bool
	Err error
}

// Error says where, and what to do.
func (e *PackedError) Error() string {
	if e.Cut {
		return fmt.Sprintf("the %s data is cut off after byte %d; get the whole file again", e.Packing, e.Offset)
	}
	return fmt.Sprintf("the %s data is damaged near byte %d (%v); get the file again", e.Packing, e.Offset, e.Err)
}

// Unwrap returns what the decoder said.
func (e *PackedError) Unwrap() error { return e.Err }

// unpacked gives errors of the data their place, and leaves those of reading the file as they are.
type unpacked struct {
	in      *counted
	packing Packing
	from    io.Reader
	done    func()
}

// Read reads on.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.from.Read(p)
	switch {
	case err == nil || u.in.err != nil && errors.Is(err, u.in.err):
	case errors.Is(err, io.EOF) && u.in.n > 0:
		// The end. Not even an empty text is packed into no bytes.
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		err = &PackedError{Packing: u.packing, Offset: u.in.n, Cut: true, Err: io.ErrUnexpectedEOF}
	default:
		err = &PackedError{Packing: u.packing, Offset: u.in.n, Err: err}
	}
	return n, err
}

// Close frees the decoder. The reader that was given stays open.
func (u *unpacked) Close() error {
	if u.done != nil {
		u.done()
	}
	return nil
}

// counted counts the bytes that a decoder takes, and keeps the error of the reader below. It is an [io.ByteReader], so that
// the gzip decoder takes no byte more than it needs.
type counted struct {
	buffered *bufio.Reader
	n        int64
	err      error
}

// Read reads on.
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.buffered.Read(p)
	c.n += int64(n)
	return n, c.keep(err)
}

// ReadByte reads one byte.
func (c *counted) ReadByte() (byte, error) {
	b, err := c.buffered.ReadByte()
	if err == nil {
		c.n++
	}
	return b, c.keep(err)
}

func (c *counted) keep(err error) error {
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return err
}

// gzipMembers reads gzip members one after the other (RFC 1952, 2.2). Zero bytes after the last one are padding, as of tapes and
// block devices, and are left aside as gzip's own tool does.
type gzipMembers struct {
	in     *counted
	member *gzip.Reader
}

// Read reads on.
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
				err = nil // the next call goes on
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

// skipPadding returns io.EOF where nothing but padding follows.
func (g *gzipMembers) skipPadding() error {
	for padded := false; ; padded = true {
		b, err := g.in.ReadByte()
		switch {
		case err != nil:
			return err
		case b == 0:
			continue
		case padded || b != 0x1f: // as members begin
			return gzip.ErrHeader
		}
		g.in.n--
		return g.in.buffered.UnreadByte()
	}
}
