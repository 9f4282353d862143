package main

import (
	"testing"

	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestCountsTurnAndRatesDoNot(t *testing.T) {
	for _, tc := range []struct {
		by, rule string
		want     bool
	}{
		{"limit", "5000/day", true},
		{"limit", "1000/h reset 08:00 Asia/Shanghai", true},
		{"budget", "100 USD/month", true},
		{"budget", "20000 calls/day", true},
		{"limit", "10/s burst 20", false},
		{"limit", "5000/day burst 100", false},
		{"limit", "1/m", false},
		{"limit", "adaptive", false},
		{"", "", false},
	} {
		if got := limitTurns(circuit.Record{LimitedBy: tc.by, LimitedText: tc.rule}); got != tc.want {
			t.Errorf("%s %s: %v", tc.by, tc.rule, got)
		}
	}
}
