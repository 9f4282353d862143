package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/worker/redact"
	"github.com/seed-2903acc3/callq/worker/spool"
)

// content is the body of an answer, or the part of it that could be read.
type content struct {
	// file holds a large body as it was received. bytes is then nil until the file is
	// read back.
	file *spool.File
	// bytes is the decoded body, or the body as it was received if it could not be
	// decoded.
	bytes []byte
	// encoding names the codings that bytes still has; empty if none.
	encoding string
	// decoded is the part that could be decoded of a body that could not be decoded as a
	// whole.
	decoded []byte
	// cut reports that the body ended before its declared length, or that it could not
	// be decoded. It must not be treated as a complete answer.
	cut bool
}

// readBody reads the body of resp and decodes its content codings. It reads at most
// limit bytes of decoded body, and little more than that of encoded body. So neither a
// decompression bomb nor an endless series of empty gzip members costs more than a
// normal body. readBody closes the body; net/http does not reuse a connection whose body
// was not read to its end.
func readBody(ctx context.Context, resp *http.Response, limit int64) (content, *failure) {
	defer resp.Body.Close()
	raw, f := receive(ctx, resp, limit, readInMemory)
	if f != nil {
		return content{}, f
	}
	return raw.decode(codingsOf(resp.Header), limit)
}

func readInMemory(r io.Reader, expected int64) (content, error) {
	var buf bytes.Buffer
	if expected > 0 {
		buf.Grow(int(min(expected, 1<<20)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(r)
	return content{bytes: buf.Bytes()}, err
}

// receive reads the encoded body of resp with read, and closes it.
func receive(ctx context.Context, resp *http.Response, limit int64, read func(r io.Reader, expected int64) (content, error)) (content, *failure) {
	defer resp.Body.Close()
	// The body of a 101 answer is the connection itself, which has no end.
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Request.Method == http.MethodHead {
		return content{}, nil
	}
	encoded := len(codingsOf(resp.Header)) > 0
	if !encoded && resp.ContentLength > limit {
		return content{}, tooLarge(limit)
	}
	most := wireLimit(limit, encoded)
	raw, err := read(io.LimitReader(resp.Body, most+1), resp.ContentLength)
	if raw.size() > most {
		raw.file.Close()
		return content{}, tooLarge(limit)
	}
	if err != nil && timedOut(ctx, err) {
		raw.file.Close()
		return content{}, &failure{kind: policy.TransportTimeoutAfterSend, err: err}
	}
	raw.cut = err != nil
	return raw, nil
}

// size is the number of bytes received.
func (c content) size() int64 { return int64(len(c.bytes)) + c.file.Size() }

// decode decodes a body that receive returned.
func (c content) decode(codings []string, limit int64) (content, *failure) {
	if len(codings) == 0 || len(c.bytes) == 0 {
		return c, nil
	}
	plain, err := decodeCodings(codings, c.bytes, limit)
	switch {
	case errors.Is(err, errDecodedLimit), err != nil && int64(len(c.bytes)) > limit:
		return content{}, tooLarge(limit)
	case err != nil:
		return content{bytes: c.bytes, encoding: joinCodings(codings), decoded: plain, cut: true}, nil
	case int64(len(plain)) > limit:
		return content{}, tooLarge(limit)
	default:
		return content{bytes: plain, cut: c.cut}, nil
	}
}

func tooLarge(limit int64) *failure {
	return &failure{
		kind: policy.TransportTooLarge,
		err:  fmt.Errorf("the answer's body is over %d bytes; raise max_body or request less", limit),
	}
}

// wireLimit is the limit in bytes for a body before it is decoded. A body that cannot be
// compressed grows a little when it is encoded.
func wireLimit(limit int64, encoded bool) int64 {
	if encoded {
		return limit + limit/64 + 64<<10
	}
	return limit
}

// redact returns c without secrets. Secrets cannot be found in encoded bytes. So if the
// body could be decoded only in part, and that part contains a secret, redact returns the
// decoded part without the secret in place of the encoded body.
func (c content) redact(secrets *redact.Redactor) content {
	if c.encoding != "" {
		if plain := secrets.Bytes(c.decoded); !bytes.Equal(plain, c.decoded) {
			return content{bytes: plain, cut: true}
		}
	}
	c.bytes, c.decoded = secrets.Bytes(c.bytes), nil
	return c
}
