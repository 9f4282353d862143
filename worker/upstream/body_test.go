package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/policy"
)

func zipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestAPackedBodyIsUnpacked(t *testing.T) {
	const plain = `{"status":true,"data":12345678901234567890.10}`
	whole := zipped(t, plain)
	tests := []struct {
		name     string
		encoding string
		body     []byte
		kind     policy.Body
		want     string
	}{
		{"gzip", "gzip", whole, policy.BodyEnvelope, plain},
		{"its old name", "X-GZIP", whole, policy.BodyEnvelope, plain},
		{"two members", "gzip", append(zipped(t, plain[:10]), zipped(t, plain[10:])...), policy.BodyEnvelope, plain},
		{"none", "", []byte(plain), policy.BodyEnvelope, plain},
		{"identity", "identity", []byte(plain), policy.BodyEnvelope, plain},
		{"not asked for", "br", []byte("\x0b\x02\x80"), policy.BodyMalformed, "\x0b\x02\x80"},
		{"no gzip at all", "gzip", []byte(plain), policy.BodyMalformed, ""},
		{"a wrong sum", "gzip", append(bytes.Clone(whole[:len(whole)-8]), 1, 2, 3, 4, 5, 6, 7, 8), policy.BodyMalformed, ""},
		{"an early end", "gzip", whole[:len(whole)-9], policy.BodyCut, ""},
		{"an end in the header", "gzip", whole[:5], policy.BodyCut, ""},
		{"nothing", "gzip", nil, policy.BodyEmpty, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if tt.encoding != "" {
					w.Header().Set("Content-Encoding", tt.encoding)
				}
				w.Header().Set("Content-Type", "application/json")
				w.Write(tt.body)
			})
			got := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
			if got.Outcome.Body != tt.kind || got.Err != nil {
				t.Fatalf("body is %s, want %s (%v)", got.Outcome.Body, tt.kind, got.Err)
			}
			if tt.kind != policy.BodyCut && string(got.Body) != tt.want {
				t.Errorf("body %q, want %q", got.Body, tt.want)
			}
		})
	}
}

func TestTheLimitIsOnWhatUnpacks(t *testing.T) {
	const limit = 10_000
	for _, tt := range []struct {
		size int
		want policy.Transport
	}{{limit - 1, ""}, {limit, ""}, {limit + 1, policy.TooLarge}, {100 * limit, policy.TooLarge}} {
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

func TestAnEndlessRowOfEmptyMembersEnds(t *testing.T) {
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
	if got := c.Do(within(t), Request{Path: "/"}); got.Outcome.Transport != policy.TooLarge {
		t.Errorf("%+v (%v)", got.Outcome, got.Err)
	}
}

func TestAHeadAnswerHasNoBodyToRead(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "99999999")
		w.Header().Set("Content-Encoding", "gzip")
	})
	got := newClient(t, s.URL).Do(within(t), Request{Method: "HEAD", Path: "/"})
	if got.Outcome.Status != 200 || got.Outcome.Body != policy.BodyEmpty {
		t.Errorf("%+v (%v)", got.Outcome, got.Err)
	}
}

func TestABodyThatIsNoUTF8ComesAsItIs(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("\xff\xfe{\x00")) })
	got := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
	if string(got.Body) != "\xff\xfe{\x00" || !utf8.ValidString(got.Outcome.Message) {
		t.Errorf("%q %+v", got.Body, got.Outcome)
	}
}

// broken ends with an error in place of io.EOF.
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
		got, fault := readBody(context.Background(), resp, limit)
		if fault != nil {
			if fault.kind != policy.TooLarge {
				t.Fatalf("%+v", fault)
			}
			return
		}
		if int64(len(got.bytes)) > limit {
			t.Fatalf("%d bytes over a limit of %d", len(got.bytes), limit)
		}
		if breaks && !got.cut && !got.corrupt {
			t.Fatal("a broken body was taken for whole")
		}
	})
}
