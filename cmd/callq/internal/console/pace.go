package console

import (
	"fmt"
	"time"
)

const (
	// paceOver is the time over which a pace is measured: a run that was held, or
	// slowed down, soon goes by how fast it is now.
	paceOver = 30 * time.Second
	// paceStep is how far apart the counts are that are kept for it.
	paceStep = time.Second
	// paceStill is how long nothing may end before no forecast is made.
	paceStill = 10 * time.Second
)

// pace is how fast calls have ended of late. The zero value has seen nothing.
type pace struct {
	// points are counts of the last paceOver, the oldest first.
	points []pacePoint
	moved  time.Time
}

type pacePoint struct {
	at   time.Time
	made int
}

// note takes in how many calls were made up to now.
func (p *pace) note(now time.Time, made int) {
	n := len(p.points)
	if n == 0 || made != p.points[n-1].made {
		p.moved = now
	}
	if n > 1 && now.Sub(p.points[n-2].at) < paceStep {
		p.points = p.points[:n-1]
	}
	p.points = append(p.points, pacePoint{now, made})
	for len(p.points) > 2 && now.Sub(p.points[1].at) >= paceOver {
		p.points = p.points[1:]
	}
}

// restart forgets all but the last count.
func (p *pace) restart() {
	if n := len(p.points); n > 1 {
		p.points = p.points[n-1:]
	}
}

// rate is how many calls end in a second; 0 while it is not known.
func (p *pace) rate() float64 {
	if len(p.points) < 2 {
		return 0
	}
	first, last := p.points[0], p.points[len(p.points)-1]
	if last.at.Sub(first.at) < paceStep || last.at.Sub(p.moved) >= paceStill {
		return 0
	}
	return float64(last.made-first.made) / last.at.Sub(first.at).Seconds()
}

// forecast is ", 37.6/s, about 3s left", where so many calls are left; empty where
// nothing can be said.
func (p *pace) forecast(left int) string {
	rate := p.rate()
	if rate <= 0 {
		return ""
	}
	text := fmt.Sprintf(", %.1f/s", rate)
	if left > 0 {
		d := time.Duration(float64(left) / rate * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf(", about %s left", Duration(max(d, time.Second)))
	}
	return text
}
