package console

import (
	"testing"
	"time"
)

// pacing is a pace with the clock of its test.
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

// makeCalls makes each calls every 200 ms, for a while.
func (p *pacing) makeCalls(each int, while time.Duration) {
	for end := p.now.Add(while); p.now.Before(end); {
		p.now, p.n = p.now.Add(200*time.Millisecond), p.n+each
		p.note(p.now, p.n)
	}
}

func TestTheForecastUsesTheRecentPace(t *testing.T) {
	p := newPacing()
	if got := p.forecast(100); got != "" {
		t.Errorf("at the beginning: got %q, want no forecast", got)
	}
	p.makeCalls(4, 10*time.Second)
	if got, want := p.forecast(100), ", 20.0/s, about 5s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	p.makeCalls(1, 40*time.Second)
	if got, want := p.forecast(100), ", 5.0/s, about 20s left"; got != want {
		t.Errorf("after the API became slow: got %q, want %q", got, want)
	}
	if len(p.points) > 40 {
		t.Errorf("got %d counts, want at most 40", len(p.points))
	}
	if got, want := p.forecast(1), ", 5.0/s, about 1s left"; got != want {
		t.Errorf("before the last call: got %q, want %q", got, want)
	}
	if got, want := p.forecast(0), ", 5.0/s"; got != want {
		t.Errorf("at the end: got %q, want %q", got, want)
	}
}

func TestThereIsNoForecastWhileNoCallEnds(t *testing.T) {
	p := newPacing()
	p.makeCalls(4, 10*time.Second)
	p.makeCalls(0, paceStill)
	if got := p.forecast(100); got != "" {
		t.Errorf("got %q, want no forecast", got)
	}
	p.makeCalls(0, time.Hour)
	p.restart()
	p.makeCalls(2, 3*time.Second)
	if got, want := p.forecast(100), ", 10.0/s, about 10s left"; got != want {
		t.Errorf("when calls end again: got %q, want %q", got, want)
	}
}
