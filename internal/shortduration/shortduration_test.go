package shortduration

import (
	"testing"
	"time"
)

func TestZerosAtTheEndAreLeftOut(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 10 * time.Second: "10s", 5 * time.Minute: "5m", 24 * time.Hour: "24h", 90 * time.Minute: "1h30m",
		time.Hour + time.Second: "1h0m1s", 250 * time.Millisecond: "250ms",
	} {
		if got := Text(d); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
