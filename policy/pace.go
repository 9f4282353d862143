package policy

import (
	"bytes"
	"fmt"
	"math"
	"time"

	"github.com/dunglas/httpsfv"

	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// pace is where answers, good or bad, say what is left of a limit and when it starts
// afresh.
type pace struct {
	remaining place.Place
	reset     answerWait
	keep      int64
}

// PaceReading is what one answer says of a limit.
type PaceReading struct {
	// Pace is the number of the limit in the policy's list, from 0.
	Pace int
	// Remaining is how many calls the API still takes.
	Remaining int64
	// Reset is how long after the answer arrived the limit starts afresh; zero or
	// negative where that is past.
	Reset time.Duration
	// Keep is how many calls are left to other clients of the account.
	Keep int64
}

// Pace is a limit of the API that the policy reads from its answers.
type Pace struct {
	// Place is where an answer says how many calls are left, such as "header
	// x-ratelimit-remaining".
	Place string
	// Keep is how many calls are left to other clients of the account.
	Keep int64
}

// Paces returns the limits that the policy reads from answers; a [PaceReading] names one
// by its index.
func (p *Policy) Paces() []Pace {
	list := make([]Pace, len(p.paces))
	for i, c := range p.paces {
		list[i] = Pace{Place: c.remaining.String(), Keep: c.keep}
	}
	return list
}

// HasPace reports whether the policy reads what is left of a limit.
func (p *Policy) HasPace() bool { return len(p.paces) > 0 }

// ReadPace returns what an answer says of the limits that the policy names under pace. A
// limit of which it does not say both what is left and the reset is left out.
func (p *Policy) ReadPace(o Outcome) []PaceReading {
	if o.Transport != TransportNone {
		return nil
	}
	var readings []PaceReading
	for i := range p.paces {
		if remaining, reset, ok := p.paces[i].read(&o); ok {
			readings = append(readings, PaceReading{Pace: i, Remaining: remaining, Reset: reset, Keep: p.paces[i].keep})
		}
	}
	return readings
}

func (c *pace) read(o *Outcome) (remaining int64, reset time.Duration, ok bool) {
	left, ok := numberAt(c.remaining, o)
	if !ok {
		return draftLimit(c.remaining, o)
	}
	reset, ok = c.reset.wait(o)
	// Below 0 some APIs mean "no limit", and others one that is overdrawn.
	if !ok || left < 0 {
		return 0, 0, false
	}
	return int64(min(math.Floor(left), math.MaxInt32)), reset, true
}

// draftLimit reads the field RateLimit of draft-ietf-httpapi-ratelimit-headers (version 8
// and later), in which one item has both: "name";r=REMAINING;t=SECONDS. Of several limits
// the one with the least left counts, and of those the latest reset.
func draftLimit(at place.Place, o *Outcome) (remaining int64, reset time.Duration, found bool) {
	for _, line := range at.InHeader(o.Header) {
		if len(line) > maxField {
			continue
		}
		list, err := httpsfv.UnmarshalList([]string{line})
		if err != nil {
			continue
		}
		for _, member := range list {
			left, ok1 := readDecimal(numberOf(member, "r"))
			seconds, ok2 := readDecimal(numberOf(member, "t"))
			if !ok1 || !ok2 {
				continue
			}
			n, wait := min(left.whole, math.MaxInt32), seconds.seconds()
			if !found || n < remaining || n == remaining && wait > reset {
				remaining, reset, found = n, wait, true
			}
		}
	}
	return remaining, reset, found
}

func (c *pace) places() []place.Place { return []place.Place{c.remaining, c.reset.from} }

// readPace reads one entry of pace.
func (f *file) readPace(v yamlfile.Value) {
	var c pace
	v.Mapping(yamlfile.Fields{
		"remaining": func(v yamlfile.Value) { set(&c.remaining)(readPlace(v)) },
		"reset": func(v yamlfile.Value) {
			v.Mapping(yamlfile.Fields{
				"from":   func(v yamlfile.Value) { set(&c.reset.from)(readPlace(v)) },
				"format": func(v yamlfile.Value) { c.reset.format, _ = yamlfile.OneOf(v, waitFormats...) },
			})
		},
		"keep": func(v yamlfile.Value) {
			n, ok := v.Int(0, math.MaxInt32)
			set(&c.keep)(int64(n), ok)
		},
	})
	if f.Failures() == 0 && (c.remaining.IsZero() || c.reset.from.IsZero()) {
		v.Failf("needs remaining, a place, and reset: {from: PLACE}")
		return
	}
	f.paces = append(f.paces, c)
}

func pacesYAML(w *bytes.Buffer, paces []pace) {
	if len(paces) == 0 {
		return
	}
	w.WriteString("\npace:\n")
	for _, c := range paces {
		fmt.Fprintf(w, "  - {remaining: %s, reset: %s, keep: %d}\n", quote(c.remaining.String()), c.reset.yaml(), c.keep)
	}
}
