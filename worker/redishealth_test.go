package worker

import (
	"testing"
	"time"
)

func TestARedisThatFailsIsLoggedAtIntervalsAndOnceWhenItAnswersAgain(t *testing.T) {
	var is redisHealth
	start := time.Now()
	for _, c := range []struct {
		at      time.Duration
		met     bool // or it answers
		reports bool
	}{
		{0, false, false},
		{1 * time.Second, true, true},
		{1100 * time.Millisecond, true, false},
		// It refuses some commands and carries out others: the fault has not ended.
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
		now, reports := start.Add(c.at), false
		if c.met {
			reports = is.failed(now)
		} else {
			reports = is.answered(now)
		}
		if reports != c.reports {
			t.Errorf("at %s: reports %t, want %t", c.at, reports, c.reports)
		}
	}
}
