package main

import (
	"fmt"
	"io"
	"time"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/policy"
)

// readingJSON is a policy.Reading as JSON. Where value is empty nothing was found.
type readingJSON struct {
	What  string `json:"what"`
	Place string `json:"place"`
	Value string `json:"value"`
}

// readingNames are what people call the readings.
var readingNames = map[string]string{
	policy.ReadingOK: "success flag", policy.ReadingCorrelationID: "correlation id", policy.ReadingWhere: "for rules",
	policy.ReadingSources: "for waits", policy.ReadingPace: "for pace",
}

// paceJSON is what an answer says of one limit under pace.
type paceJSON struct {
	// Pace is the number of the limit in the policy's list, from 0.
	Pace         int     `json:"pace"`
	Remaining    int64   `json:"remaining"`
	ResetSeconds float64 `json:"reset_seconds"`
	Keep         int64   `json:"keep"`
	// Holds reports that nothing is left to this client, so that calls wait for the reset.
	Holds bool `json:"holds"`
}

func (l paceJSON) String() string {
	text := console.Plural(int(l.Remaining), "call") + " left"
	if l.Keep > 0 {
		text += fmt.Sprintf(", of which %d are kept for others", l.Keep)
	}
	reset := "; the limit has started again"
	if d := time.Duration(l.ResetSeconds * float64(time.Second)); d > 0 {
		reset = "; the limit starts again in " + console.Duration(d)
		if l.Holds {
			reset = "; no call starts for " + console.Duration(d)
		}
	}
	return text + reset
}

// unreadJSON is a source of a wait and what it found but could not read.
type unreadJSON struct {
	Source string `json:"source"`
	Value  string `json:"value"`
	Format string `json:"format,omitempty"`
	// NoMatch reports that find matches nothing in the value.
	NoMatch bool `json:"no_match,omitempty"`
}

// formatWords say what each format of a source is.
var formatWords = map[string]string{
	"": "neither a wait nor a time that callq recognises", "seconds": "not a number of seconds", "milliseconds": "not a number of milliseconds",
	"duration": "not a duration such as 6m0s", "epoch": "not a number of seconds since 1970", "epoch_ms": "not a number of milliseconds since 1970",
	"rfc3339": "not a time such as 2026-03-01T12:00:00Z", "http_date": "not a time such as Sun, 01 Mar 2026 12:00:00 GMT",
}

// addUnread adds what sources of a wait could not read, and what happens instead.
func (e *explanation) addUnread(unread []policy.UnreadWait, instead string) {
	for _, u := range unread {
		problem := "which is " + formatWords[u.Format]
		if u.NoMatch {
			problem = "in which find matches nothing"
		}
		e.wait += fmt.Sprintf("; %s found %q, %s; %s", u.Source, beginning(console.Printable(u.Value)), problem, instead)
		e.Unread = append(e.Unread, unreadJSON{string(u.Source), u.Value, u.Format, u.NoMatch})
	}
}

// addReadings adds what the policy found in the answer.
func (e *explanation) addReadings(p *policy.Policy, answer toExplain, o policy.Outcome, readings []policy.Reading) {
	e.Answer = answer.shown
	if answer.call != nil {
		e.NotRecorded = answer.call.unrecorded
	}
	e.Readings, e.Pace = []readingJSON{}, []paceJSON{}
	for _, r := range readings {
		e.Readings = append(e.Readings, readingJSON(r))
	}
	for _, r := range p.ReadPace(o) {
		e.Pace = append(e.Pace, paceJSON{
			Pace: r.Pace, Remaining: r.Remaining, ResetSeconds: r.Reset.Seconds(), Keep: r.Keep,
			Holds: r.Remaining <= r.Keep && r.Reset > 0,
		})
	}
}

// writeReadings prints what the policy found in the answer.
func (e explanation) writeReadings(w io.Writer) error {
	if len(e.Readings) == 0 {
		return nil
	}
	if _, err := fmt.Fprintln(w, "\nRead from the answer:"); err != nil {
		return err
	}
	t := console.NewTable(w, "READING", "VALUE", "PLACE")
	for _, r := range e.Readings {
		name, ok := readingNames[r.What]
		if !ok {
			name = r.What
		}
		value, place := beginning(console.Printable(r.Value)), r.Place
		switch {
		case r.Value == "" && place == "":
			value, place = "none", "the policy names no place"
		case r.Value == "":
			value, place = "none", "not at "+place
		}
		t.Row(name, value, place)
	}
	return t.Flush()
}

// beginning keeps a value from filling a screen.
func beginning(value string) string {
	const most = 120
	if r := []rune(value); len(r) > most {
		return string(r[:most]) + "…"
	}
	return value
}
