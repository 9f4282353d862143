package callsfile

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

func unpackAll(t *testing.T, data string, p Packing) (string, error) {
	t.Helper()
	r, err := Unpack(strings.NewReader(data), p)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if closeErr := r.Close(); closeErr != nil {
		t.Fatal(closeErr)
	}
	return string(text), err
}

func TestCompressedFilesAreReadToTheirEnd(t *testing.T) {
	for _, test := range []struct {
		name, data string
		packing    Packing
		want       string
	}{
		{"gzip", gzipped(calls), Gzip, calls},
		{"gzip members", gzipped(calls, "", "{}\n"), Gzip, calls + "{}\n"},
		{"gzip of nothing", gzipped(""), Gzip, ""},
		{"gzip with padding", gzipped(calls) + strings.Repeat("\x00", 512), Gzip, calls},
		{"zstd", zstandard(calls), Zstd, calls},
		{"zstd frames", zstandard(calls, "", "{}\n"), Zstd, calls + "{}\n"},
		{"zstd with a skippable frame", "\x5a\x2a\x4d\x18\x02\x00\x00\x00xx" + zstandard(calls), Zstd, calls},
		{"none", calls, "", calls},
	} {
		if got, err := unpackAll(t, test.data, test.packing); err != nil || got != test.want {
			t.Errorf("%s: %q, %v", test.name, got, err)
		}
	}
}

// TestAnIncompleteFileIsAnError cuts a file at every byte. A cut between two members cannot be detected.
func TestAnIncompleteFileIsAnError(t *testing.T) {
	for _, test := range []struct {
		packing     Packing
		data, first string
	}{
		{Gzip, gzipped(calls, "{}\n"), gzipped(calls)},
		{Zstd, zstandard(calls, "{}\n"), zstandard(calls)},
	} {
		for n := range test.data {
			_, err := unpackAll(t, test.data[:n], test.packing)
			var packed *PackedError
			switch {
			case n == len(test.first):
				if err != nil {
					t.Errorf("%s: cut between members: %v", test.packing, err)
				}
			case !errors.As(err, &packed) || !packed.Cut || packed.Offset > int64(n):
				t.Errorf("%s: cut after %d bytes: %v", test.packing, n, err)
			}
		}
	}
}

func TestADamagedFileIsAnErrorWithItsPosition(t *testing.T) {
	for _, test := range []struct {
		name, data string
		packing    Packing
	}{
		{"gzip", gzipped(calls), Gzip},
		{"zstd", zstandard(calls), Zstd},
	} {
		for _, at := range []int{len(test.data) / 2, len(test.data) - 2} {
			data := []byte(test.data)
			data[at] ^= 0x55
			_, err := unpackAll(t, string(data), test.packing)
			var packed *PackedError
			if !errors.As(err, &packed) || packed.Offset == 0 {
				t.Errorf("%s with byte %d changed: %v", test.name, at, err)
			}
		}
		_, err := unpackAll(t, test.data+"and more", test.packing)
		var packed *PackedError
		if !errors.As(err, &packed) || packed.Cut {
			t.Errorf("%s followed by text: got %v, want a PackedError", test.name, err)
		}
	}
}

func TestAReadErrorIsNotReportedAsDamage(t *testing.T) {
	broken := errors.New("input/output error")
	for _, p := range []Packing{Gzip, Zstd} {
		data := gzipped(calls)
		if p == Zstd {
			data = zstandard(calls)
		}
		r, err := Unpack(io.MultiReader(strings.NewReader(data[:len(data)/2]), iotest.ErrReader(broken)), p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(r)
		var packed *PackedError
		if !errors.Is(err, broken) || errors.As(err, &packed) {
			t.Errorf("%s: %v", p, err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestADecompressionBombTakesLittleMemory reads 64 MiB of zeros that take less than 100 kB.
func TestADecompressionBombTakesLittleMemory(t *testing.T) {
	const size = 64 << 20
	zeros := make([]byte, 1<<20)
	var packed, frames bytes.Buffer
	g := gzip.NewWriter(&packed)
	z, err := zstd.NewWriter(&frames)
	if err != nil {
		t.Fatal(err)
	}
	for range size / len(zeros) {
		if _, err := g.Write(zeros); err != nil {
			t.Fatal(err)
		}
		if _, err := z.Write(zeros); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(g.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	for p, data := range map[Packing][]byte{Gzip: packed.Bytes(), Zstd: frames.Bytes()} {
		bytesEach := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				r, err := Unpack(bytes.NewReader(data), p)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, onlyReader{r}); err != nil || n != size {
					b.Fatal(n, err)
				}
				if err := r.Close(); err != nil {
					b.Fatal(err)
				}
			}
		}).AllocedBytesPerOp()
		if bytesEach > 16<<20 {
			t.Errorf("%s: %d bytes of memory for %d bytes of data", p, bytesEach, len(data))
		}
	}
}

// onlyReader hides WriterTo.
type onlyReader struct{ io.Reader }

func FuzzUnpack(f *testing.F) {
	for _, packing := range []Packing{Gzip, Zstd} {
		for _, data := range []string{"", gzipped(calls), gzipped("", "x") + "\x00", zstandard(calls), zstandard("", "x") + "\x00"} {
			f.Add(string(packing), []byte(data))
		}
	}
	f.Fuzz(func(t *testing.T, packing string, data []byte) {
		if packing != string(Gzip) && packing != string(Zstd) {
			return
		}
		r, err := Unpack(bytes.NewReader(data), Packing(packing))
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, io.LimitReader(onlyReader{r}, 1<<24))
		var packed *PackedError
		if err != nil && !errors.As(err, &packed) {
			t.Fatalf("%v", err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
