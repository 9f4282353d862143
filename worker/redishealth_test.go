package worker

import (
	"testing"
	"time"
)

func TestARedisThatFailsIsLoggedAtIntervalsAndOnceWhenItAnswersAgain(t *testing.T) {
	var is redisHealth
	start := time.Now()
	for _, c := range []struct {
		at   time.Duration
		met  bool // or it answers
		says bool
	}{
		{0, false, false},
		{1 * time.Second, true, true},
		{1100 * time.Millisecond, true, false},
		// It refuses some things and does others: that is no end.
		{1500 * time.Millisecond, false, false},
		{3 * time.Second, true, false},
		{4 * time.Second, false, false},
		{11 * time.Second, true, true},
		{12 * time.Second, true, false},
		{14 * time.Second, false, true},
		{15 * time.Second, false, false},
		// The next failure is a new one.
		{16 * time.Second, true, true},
	} {
		now, says := start.Add(c.at), false
		if c.met {
			says = is.failed(now)
		} else {
			says = is.answered(now)
		}
		if says != c.says {
			t.Errorf("at %s it says something: %t, want %t", c.at, says, c.says)
		}
	}
}
