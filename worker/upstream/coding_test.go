package upstream

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

func zipped(t testing.TB, s string) []byte {
	return encoded(t, s, func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) })
}

func deflated(t testing.TB, s string) []byte {
	return encoded(t, s, func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) })
}

func deflatedRaw(t testing.TB, s string) []byte {
	return encoded(t, s, func(w io.Writer) io.WriteCloser {
		z, err := flate.NewWriter(w, flate.BestCompression)
		if err != nil {
			t.Fatal(err)
		}
		return z
	})
}

func encoded(t testing.TB, s string, by func(io.Writer) io.WriteCloser) []byte {
	t.Helper()
	var b bytes.Buffer
	z := by(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// noise returns n bytes that are neither encoded nor text.
func noise(n int) []byte {
	random := rand.New(rand.NewPCG(1, 2))
	b := []byte{0x9c}
	for len(b) < n {
		b = append(b, byte(random.Uint32()))
	}
	return b
}

func with(b []byte, at int, change byte) []byte {
	b = bytes.Clone(b)
	b[at] ^= change
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestABodyWithAnySupportedCodingIsDecoded(t *testing.T) {
	const plain = `{"status":true,"data":12345678901234567890.10}`
	long := `{"status":true,"data":"` + strings.Repeat("solar cell ", 5000) + `"}`
	gz, zl, raw := zipped(t, plain), deflated(t, plain), deflatedRaw(t, plain)
	twice := zipped(t, string(gz))
	tests := []struct {
		name     string
		encoding []string
		body     []byte
		want     string
	}{
		{"gzip", []string{"gzip"}, gz, plain},
		{"gzip of a long body", []string{"gzip"}, zipped(t, long), long},
		{"x-gzip", []string{"X-GZIP"}, gz, plain},
		{"two members", []string{"gzip"}, cat(zipped(t, plain[:10]), zipped(t, plain[10:])), plain},
		{"an empty member first", []string{"gzip"}, cat(zipped(t, ""), gz), plain},
		{"deflate as zlib", []string{"deflate"}, zl, plain},
		{"deflate as zlib of a long body", []string{"deflate"}, deflated(t, long), long},
		{"raw deflate", []string{"deflate"}, raw, plain},
		{"raw deflate of a long body", []string{"deflate"}, deflatedRaw(t, long), long},
		{"gzip twice", []string{"gzip, gzip"}, twice, plain},
		{"gzip twice in two lines", []string{"gzip", "gzip"}, twice, plain},
		{"deflate, then gzip", []string{"deflate, gzip"}, zipped(t, string(zl)), plain},
		{"gzip, then deflate", []string{"gzip,deflate"}, deflated(t, string(gz)), plain},
		{"identity beside gzip", []string{"gzip, identity"}, gz, plain},
		{"none", nil, []byte(plain), plain},
		{"identity", []string{"identity"}, []byte(plain), plain},
		{"an empty field", []string{""}, []byte(plain), plain},
		{"a charset in the wrong field", []string{"UTF-8"}, []byte(plain), plain},
		// Padding after the data.
		{"zeros after gzip", []string{"gzip"}, cat(gz, make([]byte, 16)), plain},
		{"one zero after gzip", []string{"gzip"}, cat(gz, []byte{0}), plain},
		{"a line's end after gzip", []string{"gzip"}, cat(gz, []byte("\r\n")), plain},
		{"0xff after gzip", []string{"gzip"}, cat(gz, bytes.Repeat([]byte{0xff}, 512)), plain},
		{"zeros after zlib", []string{"deflate"}, cat(zl, make([]byte, 16)), plain},
		{"zeros after raw deflate", []string{"deflate"}, cat(raw, make([]byte, 16)), plain},
		// A wrong Content-Encoding.
		{"JSON labelled gzip", []string{"gzip"}, []byte(plain), plain},
		{"a short text labelled gzip", []string{"gzip"}, []byte("x"), "x"},
		{"JSON labelled deflate", []string{"deflate"}, []byte(plain), plain},
		{"JSON labelled gzip twice", []string{"gzip, gzip"}, []byte(plain), plain},
		{"gzip once, labelled twice", []string{"gzip, gzip"}, gz, plain},
		{"a PDF labelled gzip", []string{"gzip"}, cat([]byte("%PDF-1.7\n"), noise(100)), "%PDF-1.7\n" + string(noise(100))},
		{"a picture labelled deflate", []string{"deflate"}, cat([]byte("\x89PNG\x0d\x0a\x1a\x0a"), noise(100)), "\x89PNG\x0d\x0a\x1a\x0a" + string(noise(100))},
		{"Latin-1 labelled gzip", []string{"gzip"}, bytes.Repeat([]byte("caf\xe9 "), 20), strings.Repeat("caf\xe9 ", 20)},
		{"UTF-16 labelled gzip", []string{"gzip"}, []byte("\xff\xfe{\x00}\x00"), "\xff\xfe{\x00}\x00"},
		{"nothing labelled gzip", []string{"gzip"}, nil, ""},
		{"nothing labelled br", []string{"br"}, nil, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := answerOf(t, tt.encoding, tt.body)
			if got.Outcome.Body == policy.BodyCut || got.ContentEncoding != "" || got.Err != nil {
				t.Fatalf("got body %s, encoding %q (%v); want it decoded", got.Outcome.Body, got.ContentEncoding, got.Err)
			}
			if string(got.Body) != tt.want {
				t.Errorf("body %.80q, want %.80q", got.Body, tt.want)
			}
		})
	}
}

func TestABodyThatCannotBeDecodedIsCutAndKept(t *testing.T) {
	const plain = `{"status":true,"data":12345678901234567890.10}`
	gz, zl, raw := zipped(t, plain), deflated(t, plain), deflatedRaw(t, plain)
	tests := []struct {
		name     string
		encoding string
		body     []byte
	}{
		{"a wrong checksum", "gzip", with(gz, len(gz)-6, 0xff)},
		{"a wrong length", "gzip", with(gz, len(gz)-2, 0xff)},
		{"a broken block", "gzip", with(gz, 12, 0xff)},
		{"an unknown method", "gzip", with(gz, 2, 0xff)},
		{"an early end", "gzip", gz[:len(gz)-9]},
		{"an end before the checksum", "gzip", gz[:len(gz)-8]},
		{"an end in the checksum", "gzip", gz[:len(gz)-1]},
		{"an end in the header", "gzip", gz[:5]},
		{"an end in the magic", "gzip", gz[:1]},
		{"the second member cut", "gzip", cat(zipped(t, plain[:10]), gz[:9])},
		{"the second member broken", "gzip", cat(gz, with(gz, len(gz)-6, 0xff))},
		{"other data after gzip", "gzip", cat(gz, []byte(`{"more":1}`))},
		{"noise labelled gzip", "gzip", noise(300)},
		{"a wrong zlib checksum", "deflate", with(zl, len(zl)-1, 0xff)},
		{"zlib cut", "deflate", zl[:len(zl)-6]},
		{"raw deflate cut", "deflate", raw[:len(raw)-4]},
		{"other data after zlib", "deflate", cat(zl, []byte(`{"more":1}`))},
		{"noise labelled deflate", "deflate", noise(300)},
		{"br", "br", []byte("\x0b\x02\x80{}\x03")},
		{"zstd", "zstd", []byte("\x28\xb5\x2f\xfd\x04\x00\x11\x00\x00{}")},
		{"compress", "compress", []byte("\x1f\x9d\x90{}")},
		{"a made-up coding", "x-made-up", []byte("kjsdf")},
		{"a made-up coding under gzip", "x-made-up, gzip", zipped(t, "kjsdf")},
		{"br over gzip", "gzip, br", []byte("\x0b\x02\x80{}\x03")},
		{"the inner gzip broken", "gzip, gzip", zipped(t, string(with(gz, len(gz)-6, 0xff)))},
		{"the outer gzip broken", "gzip, gzip", with(zipped(t, string(gz)), 12, 0xff)},
		{"too many codings", "gzip, gzip, gzip, gzip, gzip", gz},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := answerOf(t, []string{tt.encoding}, tt.body)
			if got.Outcome.Body != policy.BodyCut || got.Outcome.Status != 200 || got.Err != nil {
				t.Fatalf("got body %s, status %d (%v); want a cut body and 200", got.Outcome.Body, got.Outcome.Status, got.Err)
			}
			if !bytes.Equal(got.Body, tt.body) || got.ContentEncoding != tt.encoding {
				t.Errorf("got %q with encoding %q, want %q with %q", got.Body, got.ContentEncoding, tt.body, tt.encoding)
			}
		})
	}
}

func answerOf(t *testing.T, encoding []string, body []byte) Answer {
	t.Helper()
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for _, line := range encoding {
			w.Header().Add("Content-Encoding", line)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
	return newClient(t, s.URL).Do(within(t), Request{Path: "/"})
}

func TestAnEncodedBodyThatEndsEarlyIsCut(t *testing.T) {
	gz := zipped(t, `{"status":true}`)
	for name, tt := range map[string]struct{ body, encoding, want string }{
		"half of it":           {string(gz[:12]), "gzip", string(gz[:12])},
		"all that was encoded": {string(gz), "", `{"status":true}`},
		"a text":               {`{"sta`, "", `{"sta`},
		"nothing":              {"", "", ""},
	} {
		base := answering(t, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 999\r\n\r\n"+tt.body, nil)
		got := newClient(t, base).Do(within(t), Request{Path: "/"})
		if got.Outcome.Body != policy.BodyCut || string(got.Body) != tt.want || got.ContentEncoding != tt.encoding {
			t.Errorf("%s: %s, %q in %q (%v)", name, got.Outcome.Body, got.Body, got.ContentEncoding, got.Err)
		}
	}
}

func TestABodyThatCannotBeDecodedContainsNoCredential(t *testing.T) {
	const secret = "sk-0123456789-secret"
	gz := zipped(t, `{"echo":"`+secret+`","and":"more and more and more"}`)
	for name, body := range map[string][]byte{
		"a wrong checksum": with(gz, len(gz)-6, 0xff),
		"cut":              gz[:len(gz)-8],
		"the inner broken": zipped(t, string(with(gz, len(gz)-6, 0xff))),
	} {
		encoding := "gzip"
		if strings.HasPrefix(name, "the inner") {
			encoding = "gzip, gzip"
		}
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", encoding)
			w.Write(body)
		})
		c := newClient(t, s.URL, func(cfg *Config) { cfg.Auth = Bearer(StaticSecret(secret)) })
		got := c.Do(within(t), Request{Path: "/"})
		if got.Outcome.Body != policy.BodyCut || !bytes.Contains(got.Body, []byte(`{"echo":"`)) || bytes.Contains(got.Body, []byte(secret)) {
			t.Errorf("%s: %s, %q", name, got.Outcome.Body, got.Body)
		}
	}
}

func FuzzDecodeCodings(f *testing.F) {
	f.Add("gzip", zipped(f, `{"status":true}`), int64(100))
	f.Add("deflate", deflated(f, `{"status":true}`), int64(100))
	f.Add("deflate", deflatedRaw(f, `{"status":true}`), int64(5))
	f.Add("gzip, gzip", zipped(f, string(zipped(f, "{}"))), int64(1))
	f.Add("deflate", []byte(`{"status":true}`), int64(100))
	f.Fuzz(func(t *testing.T, coding string, body []byte, limit int64) {
		if limit < 1 || limit > 1<<20 {
			return
		}
		codings := codingsOf(http.Header{"Content-Encoding": {coding}})
		out, err := decodeCodings(codings, body, limit)
		if err == nil && len(body) > 0 && len(out) == 0 && !bytes.HasPrefix(body, gzipMagic[:1]) && strings.HasPrefix(coding, "gzip") {
			t.Fatalf("got no bytes and no error for %q with the coding %q", body, coding)
		}
		if len(codings) == 1 && int64(len(out)) > max(limit, int64(len(body)))+1 {
			t.Fatalf("%d bytes over a limit of %d", len(out), limit)
		}
	})
}
