package policy

import (
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy/place"
)

// What a [Reading] is. The first four are the keys of the block read; the others are
// the parts of a policy file whose places are read.
const (
	ReadingCode          = "code"
	ReadingMessage       = "message"
	ReadingOK            = "ok"
	ReadingCorrelationID = "correlation_id"
	ReadingWhere         = "where"
	ReadingSources       = "sources"
	ReadingPace          = "pace"
)

// Reading is one thing that a policy looks for in an answer.
type Reading struct {
	// What it is: one of the constants.
	What string
	// Place is the place that gave the value. It is [CommonErrorFormats] for a message
	// that no place of the policy gave.
	Place string
	// Value is what the answer says there; several values are joined. If it is empty,
	// nothing was found, and Place has all places that were tried.
	Value string
}

// CommonErrorFormats is the place of a message that was found in one of the formats that
// many APIs use for errors.
const CommonErrorFormats = "the common formats of errors"

// Readings returns what [Policy.ReadAnswer] finds in an answer and where: first code,
// message, ok and correlation_id, found or not, then what is at the places that rules,
// waits and paces name, without those at which nothing is. It is nil if no answer arrived.
func (p *Policy) Readings(r Response) []Reading {
	if r.Transport != TransportNone {
		return nil
	}
	o, from := p.readAnswer(r)
	if o.Message != "" && from.message == "" {
		from.message = CommonErrorFormats
	}
	if o.CorrelationID != "" && from.correlationID == "" {
		_, name := correlationID(r.Header)
		from.correlationID = "header " + strings.ToLower(name)
	}
	flag := ""
	if from.ok != "" {
		flag = string(o.Flag)
	}
	read := &p.reading
	list := []Reading{
		{ReadingCode, orPlaces(from.code, read.code), o.Code},
		{ReadingMessage, orPlaces(from.message, read.message), o.Message},
		{ReadingOK, orPlaces(from.ok, read.ok), flag},
		{ReadingCorrelationID, orPlaces(from.correlationID, read.correlationID), o.CorrelationID},
	}
	add := func(what string, at place.Place) {
		texts := textsAt(at, &o)
		one := Reading{what, at.String(), strings.Join(texts, ", ")}
		if len(texts) > 0 && !slices.Contains(list, one) {
			list = append(list, one)
		}
	}
	for i := range p.rules {
		for _, w := range p.rules[i].match.where {
			add(ReadingWhere, w.at)
		}
	}
	for _, at := range p.waitPlaces() {
		add(ReadingSources, at)
	}
	for _, c := range p.paces {
		for _, at := range c.places() {
			add(ReadingPace, at)
		}
	}
	return list
}

// orPlaces returns the place that gave a value, or all that were tried.
func orPlaces(from string, tried []place.Place) string {
	if from != "" {
		return from
	}
	texts := make([]string, len(tried))
	for i, at := range tried {
		texts[i] = at.String()
	}
	return strings.Join(texts, ", ")
}

// waitPlaces returns the places that backoffs and holds name, sorted.
func (p *Policy) waitPlaces() []place.Place {
	var places []place.Place
	for _, b := range p.backoffs {
		places = append(places, placesOf(b.waits)...)
	}
	for _, h := range p.holds {
		places = append(places, placesOf(h.waits)...)
	}
	slices.SortFunc(places, func(a, b place.Place) int { return strings.Compare(a.String(), b.String()) })
	return slices.DeleteFunc(places, place.Place.IsZero)
}
