package policy

import (
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

func TestSpacesAreNotADate(t *testing.T) {
	for _, value := range []string{
		"2026-        GMT", "2026-        UTC", "2026-01      gmt", "2026-01-02   GMT", "2026-01-02      ",
	} {
		if date, ok := readDate(value, time.Unix(1_700_000_000, 0)); ok {
			t.Errorf("%q is read as %s", value, date)
		}
	}
}

func TestReadingAHeaderOfManyLinesTakesMemoryInProportion(t *testing.T) {
	const lines = 4000
	h := http.Header{"X-Ratelimit-Reset": strings.Fields(strings.Repeat("1 ", lines))}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	times := ServerTimes(Outcome{Header: h, ReceivedAt: time.Unix(1_700_000_000, 0)})
	runtime.ReadMemStats(&after)
	if len(times) != lines {
		t.Fatalf("got %d times, want %d", len(times), lines)
	}
	if took := after.TotalAlloc - before.TotalAlloc; took > 16<<20 {
		t.Errorf("reading a header of %d lines took %d bytes", lines, took)
	}
}
