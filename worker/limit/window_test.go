package limit_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// windows returns the starts of the previous window, the current one and the next two, as
// the scripts get them.
func windows(t interface{ Fatal(...any) }, text string, now time.Time) (starts [4]time.Time) {
	p, err := limit.NewPlan([]string{text}, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	args := p.Args(now)
	for i := range starts {
		starts[i] = time.UnixMilli(args[7+i].(int64)).UTC()
	}
	return starts
}

func TestWindowsBeginWherePeopleExpectIt(t *testing.T) {
	now := time.Date(2026, 3, 29, 13, 45, 12, 0, time.UTC) // a Sunday; Berlin sets its clocks forward
	for text, want := range map[string]string{
		"5/h":                              "2026-03-29T13:00:00Z",
		"5/day":                            "2026-03-29T00:00:00Z",
		"5/week":                           "2026-03-23T00:00:00Z",
		"5/month":                          "2026-03-01T00:00:00Z",
		"5/3month":                         "2026-01-01T00:00:00Z",
		"5/6h":                             "2026-03-29T12:00:00Z",
		"5/h reset 08:30":                  "2026-03-29T13:30:00Z",
		"5/day reset 08:00 Asia/Shanghai":  "2026-03-29T00:00:00Z",
		"5/day reset 00:00 Europe/Berlin":  "2026-03-28T23:00:00Z",
		"5/day reset 23:00 Europe/Berlin":  "2026-03-28T22:00:00Z",
		"5/month reset 06:00 Europe/Paris": "2026-03-01T05:00:00Z",
	} {
		if got := windows(t, text, now)[1].Format(time.RFC3339); got != want {
			t.Errorf("%s: start of the window: got %s, want %s", text, got, want)
		}
	}
	if next := windows(t, "5/day reset 23:00 Europe/Berlin", now)[2].Format(time.RFC3339); next != "2026-03-29T21:00:00Z" {
		t.Errorf("end of the day on which clocks are set forward: got %s, want 2026-03-29T21:00:00Z", next)
	}
}

func TestThereIsNoGapBetweenWindows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom([]string{
			"5/h", "5/7h", "5/day", "5/3day", "5/week", "5/2week", "5/month", "5/5month",
			"5/day reset 02:30 Europe/Berlin", "5/month reset 23:59 America/New_York", "5/h reset 00:15 Asia/Kolkata",
		}).Draw(t, "limit")
		now := time.Unix(rapid.Int64Range(1_600_000_000, 2_400_000_000).Draw(t, "now"), 0)
		w := windows(t, text, now)
		if !w[0].Before(w[1]) || w[1].After(now) || !now.Before(w[2]) || !w[2].Before(w[3]) {
			t.Fatalf("%s at %s: %v", text, now, w)
		}
		for i := range 3 {
			if next := windows(t, text, w[i+1].Add(-time.Millisecond)); !next[1].Equal(w[i]) || !next[2].Equal(w[i+1]) {
				t.Fatalf("%s: the window just before %s: got %s to %s, want a start at %s", text, w[i+1], next[1], next[2], w[i])
			}
		}
	})
}

func TestHowLongCallsTakeUnderTheLimits(t *testing.T) {
	noon := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		limits, budgets []string
		perCall         string
		calls           int64
		want            time.Duration
	}{
		{limits: []string{"10/s"}, calls: 1001, want: 100*time.Second + 500*time.Millisecond},
		{limits: []string{"10/s burst 20"}, calls: 20},
		{limits: []string{"5000/day"}, calls: 5000},
		{limits: []string{"5000/day"}, calls: 5001, want: 12 * time.Hour},
		{limits: []string{"5000/day"}, calls: 12_000, want: 36 * time.Hour},
		{limits: []string{"adaptive"}, calls: 1_000_000},
		{budgets: []string{"10 USD/day"}, perCall: "0.01", calls: 1001, want: 12 * time.Hour},
		{budgets: []string{"100 calls/h"}, calls: 250, want: 2 * time.Hour},
		{calls: 5},
	} {
		p := planOf(t, c.limits, c.budgets, c.perCall)
		if got := p.Duration(c.calls, noon); got != c.want {
			t.Errorf("%d calls under %s: got %s, want %s", c.calls, p, got, c.want)
		}
	}
}
