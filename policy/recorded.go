package policy

import (
	"slices"

	"github.com/seed-2903acc3/callq/policy/place"
)

// Recorded is what a record has of an attempt, for [DecideRecorded].
type Recorded struct {
	// Outcome is what the policy of then read, see [Kept.Outcome].
	Outcome Outcome
	// Looked and Partial are those of [Kept].
	Looked  string
	Partial bool
	// Answer is the answer with its whole body and those of its headers that were kept; nil
	// if the record does not have the body.
	Answer *Response
	// MaybeCut reports that it is not known whether Answer's body was cut.
	MaybeCut bool
	// Succeeded reports that the call succeeded with this answer: it was not cut.
	Succeeded bool
	// Returned reports that a job's code returned the outcome. No policy has read it from an
	// answer, and it has all that there was.
	Returned bool
}

// Doubt is a rule of which a record does not tell whether it matches.
type Doubt struct {
	// Rule is the rule's id.
	Rule string
	// Reads is what it looks at and the record does not have: a key of match, or a place.
	Reads string
}

// DecideRecorded decides by p on an attempt of which there is only a record, perhaps made by
// another policy. The decision is that of [Policy.Decide], as far as the record goes. It is
// sure if there are no doubts: then no rule before the one that decides could match because
// of something that the record does not have.
func DecideRecorded(p *Policy, r Recorded, a Attempt) (Decision, []Doubt) {
	if r.Returned || r.Outcome.Transport != TransportNone {
		return p.Decide(r.Outcome, a), nil
	}
	e := p.evidence(&r)
	in := newInput(&e.o, &a)
	var doubts []Doubt
	for i := range p.rules {
		unknown, misses := e.compare(&p.rules[i].match, &in)
		if misses {
			continue
		}
		if unknown == "" {
			break
		}
		doubts = append(doubts, Doubt{Rule: p.rules[i].id, Reads: unknown})
	}
	return p.Decide(e.o, a), doubts
}

// evidence is a recorded answer as the policy p reads it, with what is known of it.
type evidence struct {
	r *Recorded
	o Outcome
	// code, message, flag and body report that these fields of o are what p would have read.
	code, message, flag, body bool
	// json and text report that o has all that the body says at places of JSON, and at those
	// of the text of another body.
	json, text bool
}

func (p *Policy) evidence(r *Recorded) *evidence {
	e := &evidence{r: r, o: r.Outcome}
	read := &p.reading
	if r.Answer != nil {
		var from givers
		e.o, from = p.readAnswer(*r.Answer)
		e.o.ReceivedAt = r.Outcome.ReceivedAt
		e.json, e.text = true, true
		e.code, e.message, e.flag = e.knowsUntil(read.code, from.code), e.knowsUntil(read.message, from.message), e.knowsUntil(read.ok, from.ok)
		e.body = e.flag || e.o.Body != BodyEnvelope && e.o.Body != BodyMalformed
		return e
	}
	// A body without JSON has nothing at places of JSON, and JSON nothing at those of text. A
	// policy that reads a success flag takes JSON without one for malformed.
	isText := e.o.Body == BodyHTML || e.o.Body == BodyMalformed && readsNoFlag(r.Looked)
	isNothing := e.o.Body == BodyCut || e.o.Body == BodyEmpty
	isJSON := e.o.Body == BodyEnvelope && !r.Succeeded
	e.json, e.text = isText || isNothing, isJSON || isNothing
	e.body = e.json || len(read.ok) == 0 && isJSON || p.readsAlike(r.Looked, markOK)
	e.code, e.flag, e.message = p.readsAlike(r.Looked, markCode), p.readsAlike(r.Looked, markOK), p.readsAlike(r.Looked, markMessage) && !r.Partial
	// What is known to be in no body can only be in a header.
	headers := Outcome{Header: e.o.Header, Flag: FlagAbsent}
	from := p.read(&headers, nil, nil)
	if !e.code && e.knowsUntil(read.code, from.code) {
		e.o.Code, e.code = headers.Code, true
	}
	if !e.flag && e.knowsUntil(read.ok, from.ok) {
		e.o.Flag, e.flag = headers.Flag, true
	}
	return e
}

// knowsUntil reports whether all places of a list are known up to the one that gave the
// value; "": none did.
func (e *evidence) knowsUntil(places []place.Place, giver string) bool {
	for _, at := range places {
		if at.String() == giver {
			return true
		}
		if !e.knowsWhole(at) {
			return false
		}
	}
	return true
}

// knowsWhole reports whether all that the answer said at a place is known, whether a policy
// of then looked there or not.
func (e *evidence) knowsWhole(at place.Place) bool {
	switch {
	case at.Header() != "":
		return e.knowsHeader(at.Header())
	case at.IsBody():
		return e.text
	}
	return e.json
}

// knowsHeader reports whether the record has the header, or the answer did not have it.
func (e *evidence) knowsHeader(name string) bool {
	switch {
	case len(e.o.Header[name]) > 0:
		return true
	case e.r.Partial:
		return false
	}
	return LooksAt(e.r.Looked, headerText(name)) || e.r.Looked != "" && (name == "Date" || saysWhen(name))
}

// knowsTimes reports whether the record has all headers that may say when to call again.
func (e *evidence) knowsTimes() bool { return e.r.Looked != "" && !e.r.Partial }

// knows reports whether the record has what the answer said at a place, or it said nothing.
func (e *evidence) knows(at place.Place) bool {
	return e.knowsWhole(at) || at.Header() == "" && (len(e.o.Found[at.String()]) > 0 || !e.r.Partial && LooksAt(e.r.Looked, at.String()))
}

// compare reports whether the rule does not match, for sure. If not, unknown is the first
// thing that it looks at and the record does not have; "": the rule matches.
func (e *evidence) compare(m *match, in *input) (unknown string, misses bool) {
	for f := fieldCode; f < fieldEnd; f <<= 1 {
		if m.fields&f == 0 {
			continue
		}
		missing, misses := e.compareField(f, m, in)
		if misses {
			return "", true
		}
		if unknown == "" {
			unknown = missing
		}
	}
	return unknown, false
}

func (e *evidence) compareField(f field, m *match, in *input) (unknown string, misses bool) {
	known := true
	switch f {
	case fieldCode:
		known = e.code
	case fieldMessage:
		known = e.message
	case fieldFlag:
		known = e.flag
	case fieldBody:
		known = e.knowsBody(m, in)
	case fieldLimitUsedUp:
		known = e.knowsTimes()
	case fieldHeader:
		return e.compareHeaders(m)
	case fieldWhere:
		return e.compareWhere(m)
	}
	if known {
		return "", !m.fits(f, in)
	}
	return f.String(), false
}

// knowsBody reports whether it is known that the body is of a kind that the rule wants, or
// that it is not.
func (e *evidence) knowsBody(m *match, in *input) bool {
	cut := bit(bodies, BodyCut)
	switch {
	case e.r.MaybeCut && m.body&cut == 0 == (m.body&in.body != 0):
		return false
	case e.r.Succeeded && m.body == cut:
		return true
	}
	return e.body
}

func (e *evidence) compareHeaders(m *match) (unknown string, misses bool) {
	for _, h := range m.headers {
		switch {
		case !e.knowsHeader(h.name):
			unknown = headerText(h.name)
		case !slices.ContainsFunc(e.o.Header[h.name], h.pattern.MatchString):
			return "", true
		}
	}
	return unknown, false
}

func (e *evidence) compareWhere(m *match) (unknown string, misses bool) {
	for i := range m.where {
		w := &m.where[i]
		switch {
		case !e.knows(w.at):
			unknown = w.place()
		case !w.fits(&e.o):
			return "", true
		}
	}
	return unknown, false
}
