package console

import (
	"fmt"
	"time"
)

const (
	// paceOver is the time over which a pace is measured. It is short, so that the
	// forecast of a run that was held or slowed down is soon right again.
	paceOver = 30 * time.Second
	// paceStep is the shortest time between two counts that are kept.
	paceStep = time.Second
	// paceStill is the time without an ended call after which there is no forecast.
	paceStill = 10 * time.Second
)

// pace measures how fast calls end. The zero value has no counts.
type pace struct {
	// points are the counts of the last paceOver, the oldest first.
	points []pacePoint
	moved  time.Time
}

type pacePoint struct {
	at   time.Time
	made int
}

// note adds the number of calls that were made until now.
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

// restart deletes all counts but the last.
func (p *pace) restart() {
	if n := len(p.points); n > 1 {
		p.points = p.points[n-1:]
	}
}

// rate returns how many calls end in a second, 0 while it is unknown.
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

// forecast returns text such as ", 37.6/s, about 3s left" for the number of calls that are
// left, or "" while the rate is unknown.
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
