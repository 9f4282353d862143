package console

import (
	"testing"
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
