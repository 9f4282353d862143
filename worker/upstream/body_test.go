package upstream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/policy"
)

func TestTheSizeLimitAppliesToTheDecodedBody(t *testing.T) {
	const limit = 10_000
	for _, tt := range []struct {
		size int
		want policy.Transport
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, policy.TransportTooLarge}, {100 * limit, policy.TransportTooLarge}} {
		for _, packed := range []bool{false, true} {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body := []byte(strings.Repeat("x", tt.size))
				if packed {
					w.Header().Set("Content-Encoding", "gzip")
					body = zipped(t, string(body))
				}
				w.Write(body)
			})
			c := newClient(t, s.URL, func(cfg *Config) { cfg.MaxBody = limit })
			got := c.Do(within(t), Request{Path: "/"})
			if got.Outcome.Transport != tt.want || tt.want == "" && len(got.Body) != tt.size {
				t.Errorf("%d bytes, packed %v: %q, %d bytes (%v)", tt.size, packed, got.Outcome.Transport, len(got.Body), got.Err)
			}
		}
	}
}

func TestAnEndlessSeriesOfEmptyGzipMembersEndsTheCall(t *testing.T) {
	empty := zipped(t, "")
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		for {
			if _, err := w.Write(empty); err != nil {
				return
			}
		}
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.MaxBody = 1000 })
	if got := c.Do(within(t), Request{Path: "/"}); got.Outcome.Transport != policy.TransportTooLarge {
		t.Errorf("%+v (%v)", got.Outcome, got.Err)
	}
}

func TestAnAnswerToHEADHasNoBody(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "99999999")
		w.Header().Set("Content-Encoding", "gzip")
	})
	got := newClient(t, s.URL).Do(within(t), Request{Method: "HEAD", Path: "/"})
	if got.Outcome.Status != 200 || got.Outcome.Body != policy.BodyEmpty {
		t.Errorf("%+v (%v)", got.Outcome, got.Err)
	}
}

func TestABodyThatIsNotUTF8IsReturnedUnchanged(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("\xff\xfe{\x00")) })
	got := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
	if string(got.Body) != "\xff\xfe{\x00" || !utf8.ValidString(got.Outcome.Message) {
		t.Errorf("%q %+v", got.Body, got.Outcome)
	}
}

// broken returns an error instead of io.EOF.
type broken struct {
	io.Reader
	err error
}

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		err = b.err
	}
	return n, err
}

func FuzzReadBody(f *testing.F) {
	f.Add("gzip", zipped(f, `{"status":true}`), int64(100), false)
	f.Add("gzip", zipped(f, strings.Repeat("x", 5000)), int64(100), false)
	f.Add("gzip", append(zipped(f, "a"), 0x1f, 0x8b), int64(1), true)
	f.Add("gzip", []byte{0x1f, 0x8b, 8, 0, 0}, int64(5), false)
	f.Add("", []byte("plain"), int64(5), true)
	f.Add("br", []byte("plain"), int64(4), false)
	f.Fuzz(func(t *testing.T, encoding string, raw []byte, limit int64, breaks bool) {
		if limit < 1 || limit > 1<<20 {
			return
		}
		var body io.Reader = bytes.NewReader(raw)
		if breaks {
			body = broken{body, errors.New("connection reset")}
		}
		resp := &http.Response{
			StatusCode: 200, Request: &http.Request{Method: "GET"}, ContentLength: -1,
			Header: http.Header{"Content-Encoding": {encoding}}, Body: io.NopCloser(body),
		}
		got, failure := readBody(context.Background(), resp, limit)
		if failure != nil {
			if failure.kind != policy.TransportTooLarge {
				t.Fatalf("%+v", failure)
			}
			return
		}
		if int64(len(got.bytes)) > limit {
			t.Fatalf("%d bytes over a limit of %d", len(got.bytes), limit)
		}
		if breaks && !got.cut {
			t.Fatal("a broken body is not marked as cut")
		}
	})
}
