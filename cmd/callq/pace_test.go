package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pacing is a pace and the clock of its test.
type pacing struct {
	pace
	now time.Time
	n   int
}

func newPacing() *pacing {
	p := &pacing{now: time.Date(2026, 5, 4, 18, 0, 0, 0, time.UTC)}
	p.note(p.now, 0)
	return p
}

// goes makes so many calls in each fifth of a second, for a while.
func (p *pacing) goes(each int, while time.Duration) {
	for end := p.now.Add(while); p.now.Before(end); {
		p.now, p.n = p.now.Add(200*time.Millisecond), p.n+each
		p.note(p.now, p.n)
	}
}

func TestAForecastComesFromTheRecentPace(t *testing.T) {
	p := newPacing()
	if got := p.forecast(100); got != "" {
		t.Errorf("at the beginning it says %q", got)
	}
	p.goes(4, 10*time.Second)
	if got, want := p.forecast(100), ", 20.0/s, about 5s left"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
	p.goes(1, 40*time.Second)
	if got, want := p.forecast(100), ", 5.0/s, about 20s left"; got != want {
		t.Errorf("after the API has become slow it says %q, want %q", got, want)
	}
	if len(p.points) > 40 {
		t.Errorf("%d counts are kept", len(p.points))
	}
	if got, want := p.forecast(1), ", 5.0/s, about 1s left"; got != want {
		t.Errorf("before the last call it says %q, want %q", got, want)
	}
	if got, want := p.forecast(0), ", 5.0/s"; got != want {
		t.Errorf("at the end it says %q, want %q", got, want)
	}
}

func TestThereIsNoForecastWhileNothingMoves(t *testing.T) {
	p := newPacing()
	p.goes(4, 10*time.Second)
	p.goes(0, paceStill)
	if got := p.forecast(100); got != "" {
		t.Errorf("it says %q", got)
	}
	p.goes(0, time.Hour)
	p.restart()
	p.goes(2, 3*time.Second)
	if got, want := p.forecast(100), ", 10.0/s, about 10s left"; got != want {
		t.Errorf("when it moves again it says %q, want %q", got, want)
	}
}

func TestProgressTellsOfTheWholeFileAndForecastsOnlyWhatIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := (&app{stderr: &out}).newProgress()
		p.begin(500, 200)
		tell := func(n int) string {
			out.Reset()
			time.Sleep(lineEvery) // in the bubble
			p.done(n, 210, func() string { return ", 1 dropped" })
			return strings.TrimSuffix(out.String(), "\n")
		}
		// 210 were known before: what an earlier run made is not this one's pace.
		if got, want := tell(260), "260 of 500 calls have ended (52%), 10.0/s, about 24s left, 1 dropped"; got != want {
			t.Errorf("it says %q, want %q", got, want)
		}
		p.hold("held until 19:53:10 (outage)")
		if got, want := tell(260), "260 of 500 calls have ended (52%), 1 dropped; held until 19:53:10 (outage)"; got != want {
			t.Errorf("while calls are held it says %q, want %q", got, want)
		}
		p.hold("")
		if got, want := tell(310), "310 of 500 calls have ended (62%), 10.0/s, about 19s left, 1 dropped"; got != want {
			t.Errorf("afterwards it says %q, want %q", got, want)
		}
	})
	if got, want := progressLine(0, 1), "0 of 1 call has ended (0%)"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

func TestProgressThatMakesNoneIsSaidMoreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		p := (&app{stderr: &out}).newProgress()
		p.begin(10, 0)
		n, losses := 2, ""
		// lines counts those that are written in a while.
		lines := func(while time.Duration) int {
			out.Reset()
			for range while / time.Second {
				time.Sleep(time.Second) // in the bubble
				p.done(n, 0, func() string { return losses })
			}
			return strings.Count(out.String(), "\n")
		}
		for _, c := range []struct {
			what   string
			change func()
			while  time.Duration
			want   int
		}{
			{"the first", func() {}, lineEvery, 1},
			{"nothing has changed", func() {}, stillEvery - time.Second, 0},
			{"nothing has changed for long", func() {}, time.Second, 1},
			{"a call has ended", func() { n++ }, lineEvery, 1},
			{"a call was lost", func() { losses = ", 1 dead" }, lineEvery, 1},
			{"they are held", func() { p.hold("held until 19:53:10 (outage)") }, lineEvery, 1},
			{"they are held for ten minutes", func() {}, 10 * time.Minute, 20},
			{"they are held for longer", func() { p.hold("held until 19:58:10 (outage)") }, lineEvery, 1},
			{"they go out again", func() { p.hold("") }, lineEvery, 1},
		} {
			c.change()
			if got := lines(c.while); got != c.want {
				t.Errorf("%s: %d lines, want %d", c.what, got, c.want)
			}
		}
	})
}
