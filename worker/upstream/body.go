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

// content is the body of an answer as far as it could be read.
type content struct {
	// file holds the body as it came where it is large; bytes is nil then, until it is
	// read back.
	file *spool.File
	// bytes is the body with its codings undone. Where they could not be undone,
	// it is the body as it came.
	bytes []byte
	// encoding names the codings that bytes still has; empty if none.
	encoding string
	// decoded is as much as could be decoded of a body that keeps its encoding.
	decoded []byte
	// cut reports that the body ended before its declared length, or that its
	// codings could not be undone: it must not be taken for the whole answer.
	cut bool
}

// readBody reads the body of resp and undoes its content codings. It reads no
// more than limit bytes of decoded body, and little more than that of encoded
// body, so that neither a bomb nor an endless row of empty gzip members costs
// more than an honest body. The body is closed; net/http does not use a
// connection again whose body was not read to its end.
func readBody(ctx context.Context, resp *http.Response, limit int64) (content, *fault) {
	defer resp.Body.Close()
	raw, f := receive(ctx, resp, limit, inMemory)
	if f != nil {
		return content{}, f
	}
	return raw.decode(codingsOf(resp.Header), limit)
}

func inMemory(r io.Reader, expected int64) (content, error) {
	var buf bytes.Buffer
	if expected > 0 {
		buf.Grow(int(min(expected, 1<<20)) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(r)
	return content{bytes: buf.Bytes()}, err
}

// receive reads the body of resp by read, as it comes, and closes it.
func receive(ctx context.Context, resp *http.Response, limit int64, read func(r io.Reader, expected int64) (content, error)) (content, *fault) {
	defer resp.Body.Close()
	// A 101 has the connection itself as its body, which would never end.
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
		return content{}, &fault{kind: policy.TransportTimeoutAfterSend, err: err}
	}
	raw.cut = err != nil
	return raw, nil
}

// size is how many bytes came.
func (c content) size() int64 { return int64(len(c.bytes)) + c.file.Size() }

// decode undoes the codings of a body that was read as far as it came.
func (c content) decode(codings []string, limit int64) (content, *fault) {
	if len(codings) == 0 || len(c.bytes) == 0 {
		return c, nil
	}
	plain, err := undo(codings, c.bytes, limit)
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

func tooLarge(limit int64) *fault {
	return &fault{
		kind: policy.TransportTooLarge,
		err:  fmt.Errorf("the answer's body is over %d bytes; raise max_body or ask for less", limit),
	}
}

// wireLimit is how many bytes of a body may come over the wire. A body that does
// not compress grows a little when it is encoded.
func wireLimit(limit int64, encoded bool) int64 {
	if encoded {
		return limit + limit/64 + 64<<10
	}
	return limit
}

// clean returns c without secrets. Nobody can look into a body that cannot be
// decoded; where the part that can be decoded holds a secret, that part is kept
// without it in place of the body as it came.
func (c content) clean(secrets *redact.Redactor) content {
	if c.encoding != "" {
		if plain := secrets.Bytes(c.decoded); !bytes.Equal(plain, c.decoded) {
			return content{bytes: plain, cut: true}
		}
	}
	c.bytes, c.decoded = secrets.Bytes(c.bytes), nil
	return c
}
