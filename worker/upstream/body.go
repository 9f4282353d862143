package upstream

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
)

// content is the body of an answer as far as it could be read.
type content struct {
	bytes []byte
	// cut: it ended before its declared length. corrupt: it is not in the
	// encoding that it declares.
	cut, corrupt bool
}

// readBody reads the body of resp and unpacks it. It reads no more than limit
// bytes of what is unpacked, and little more than that of what is packed, so
// that neither a bomb nor an endless row of empty members costs more than an
// honest body. The body is closed; a connection whose body was not read to its
// end is not used again.
func readBody(ctx context.Context, resp *http.Response, limit int64) (content, *fault) {
	defer resp.Body.Close()
	// A 101 has the connection itself as its body, which would never end.
	if resp.StatusCode == http.StatusSwitchingProtocols || resp.Request.Method == http.MethodHead {
		return content{}, nil
	}
	encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding")))
	packed := encoding == "gzip" || encoding == "x-gzip"
	if !packed && resp.ContentLength > limit {
		return content{}, tooLarge(limit)
	}
	source := &sourceReader{r: resp.Body, rest: wireLimit(limit, packed)}
	var body io.Reader = source
	if packed {
		z, err := gzip.NewReader(source)
		if err != nil {
			if errors.Is(err, io.EOF) && errors.Is(source.err, io.EOF) {
				return content{}, nil
			}
			return judge(ctx, nil, source, err, limit)
		}
		body = z
	}
	var buf bytes.Buffer
	if n := resp.ContentLength; n > 0 {
		buf.Grow(int(min(n, 1<<20)) + bytes.MinRead)
	}
	n, err := buf.ReadFrom(io.LimitReader(body, limit+1))
	if n > limit {
		return content{}, tooLarge(limit)
	}
	if err != nil {
		return judge(ctx, buf.Bytes(), source, err, limit)
	}
	out := content{bytes: buf.Bytes()}
	out.corrupt = !packed && encoding != "" && encoding != "identity"
	return out, nil
}

// judge tells what a body's error means.
func judge(ctx context.Context, sofar []byte, source *sourceReader, err error, limit int64) (content, *fault) {
	var corrupt flate.CorruptInputError
	switch {
	case errors.Is(err, errWireLimit):
		return content{}, tooLarge(limit)
	case source.err != nil && !errors.Is(source.err, io.EOF) && timedOut(ctx, source.err):
		return content{}, &fault{kind: policy.TimeoutAfterSend, err: source.err}
	case errors.As(err, &corrupt), errors.Is(err, gzip.ErrHeader), errors.Is(err, gzip.ErrChecksum):
		return content{corrupt: true}, nil
	default:
		return content{bytes: sofar, cut: true}, nil
	}
}

func tooLarge(limit int64) *fault {
	return &fault{
		kind: policy.TooLarge,
		err:  fmt.Errorf("the answer's body is over %d bytes; raise max_body or ask for less", limit),
	}
}

// wireLimit is how many bytes of a body may come over the wire. What cannot be
// packed any smaller grows a little when it is packed.
func wireLimit(limit int64, packed bool) int64 {
	if packed {
		return limit + limit/64 + 64<<10
	}
	return limit + 1
}

var errWireLimit = errors.New("the packed body is over the limit")

// sourceReader remembers the error of the connection, which an unpacker may
// turn into one of its own, and ends after rest bytes.
type sourceReader struct {
	r    io.Reader
	rest int64
	err  error
}

func (s *sourceReader) Read(p []byte) (int, error) {
	if s.rest <= 0 {
		// Is there more? A body of just the allowed length ends here.
		n, err := s.r.Read(make([]byte, 1))
		if n == 0 && err != nil {
			s.err = err
			return 0, err
		}
		return 0, errWireLimit
	}
	n, err := s.r.Read(p[:min(int64(len(p)), s.rest)])
	s.rest -= int64(n)
	if err != nil {
		s.err = err
	}
	return n, err
}
