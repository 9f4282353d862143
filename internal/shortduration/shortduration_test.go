package shortduration

import (
	"testing"
	"time"
)

func TestZerosAtTheEndAreLeftOut(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 10 * time.Second: "10s", 90 * time.Second: "1m30s", 5 * time.Minute: "5m", time.Hour: "1h",
		24 * time.Hour: "24h", 90 * time.Minute: "1h30m", time.Hour + time.Second: "1h0m1s",
		150 * time.Millisecond: "150ms", 250 * time.Millisecond: "250ms",
	} {
		if got := Text(d); got != want {
			t.Errorf("Text(%d): got %s, want %s", d, got, want)
		}
	}
}
