package upstream

import (
	"bytes"
	"compress/gzip"
	"testing"
	"time"
)

// The time that a body takes grows with its length, not with the square of it.
func TestManySmallGzipMembersAreReadInOnePass(t *testing.T) {
	var one bytes.Buffer
	if err := gzip.NewWriter(&one).Close(); err != nil {
		t.Fatal(err)
	}
	took := func(size int) time.Duration {
		body := bytes.Repeat(one.Bytes(), size/one.Len())
		began := time.Now()
		out, err := undo([]string{"gzip"}, body, int64(size))
		if err != nil || len(out) != 0 {
			t.Fatalf("%d bytes, %v; want none", len(out), err)
		}
		return time.Since(began)
	}
	short, long := took(1<<20), took(8<<20)
	if long > 24*short && long > 3*time.Second {
		t.Errorf("eight times the length takes %s, and not eight times %s", long, short)
	}
}
