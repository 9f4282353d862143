package policy

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

const (
	// maxCode, maxMessage and maxID bound, in bytes, what is kept of the API's words.
	maxCode    = 128
	maxMessage = 1024
	maxID      = 256
	// maxJoined is how many messages of one place are joined.
	maxJoined = 3
)

// reading says where an API's answers say things: the block read of a policy file. The
// first place of a list counts at which something is.
type reading struct {
	code, message, ok, correlationID []place.Place
	at                               yamlfile.Pos
}

// over is r with what base says where r does not.
func (r reading) over(base reading) reading {
	for _, list := range []struct{ mine, below *[]place.Place }{
		{&r.code, &base.code}, {&r.message, &base.message}, {&r.ok, &base.ok}, {&r.correlationID, &base.correlationID},
	} {
		if *list.mine == nil {
			*list.mine = *list.below
		}
	}
	return r
}

func (r reading) all() []place.Place {
	return slices.Concat(r.code, r.message, r.ok, r.correlationID)
}

// read fills in what an answer says by the places that the policy names: Flag, Code,
// Message and CorrelationID by its block read, and Found by the places of its rules,
// backoffs, holds and paces. o holds the answer's Header; json is its body where that is
// JSON as [place.IsJSON] has it, and text its body where that is not; else they are nil.
// What no place gives stays as it is in o.
//
// A JSON body in which a policy that names a place for ok finds no flag is not an
// envelope: its Body is [BodyMalformed]; of any other JSON it is [BodyEnvelope].
//
// A code may be a number or a string. Of what an API writes there instead, an empty
// array, object, false and null are no code, and the JSON of anything else is the code.
//
// read returns the places that gave the four values, each empty where none did.
func (p *Policy) read(o *Outcome, json, text []byte) (from givers) {
	values := p.places.Read(json)
	if len(text) > 0 {
		values = p.places.ReadText(text)
	}
	r := &p.reading
	first := func(places []place.Place, use func(values []place.Value) bool) string {
		for _, at := range places {
			if found := valuesAt(at, values, o); len(found) > 0 && use(found) {
				return at.String()
			}
		}
		return ""
	}
	from.code = first(r.code, func(found []place.Value) bool {
		code, is := codeOf(found[0])
		if is {
			o.Code = code
		}
		return is
	})
	from.message = first(r.message, func(found []place.Value) bool {
		message := messageOf(found)
		if message != "" {
			o.Message = message
		}
		return message != ""
	})
	from.correlationID = first(r.correlationID, func(found []place.Value) bool {
		id := plaintext.Clean(found[0].Text, maxID)
		if id != "" && found[0].Kind != place.KindComposite {
			o.CorrelationID = id
		}
		return id != ""
	})
	from.ok = first(r.ok, func(found []place.Value) bool {
		flag := flagOf(found[0])
		if flag != FlagAbsent {
			o.Flag = flag
		}
		return flag != FlagAbsent
	})
	if len(json) > 0 {
		o.Body = BodyEnvelope
		if len(r.ok) > 0 && from.ok == "" {
			o.Body = BodyMalformed
		}
	}
	p.keep(o, values)
	return from
}

// givers are the places that gave the values of the block read.
type givers struct{ code, message, ok, correlationID string }

// valuesAt gives what is at a place, the lines of a header as strings.
func valuesAt(at place.Place, values place.Values, o *Outcome) []place.Value {
	if at.Header() == "" {
		return values.At(at)
	}
	lines := at.InHeader(o.Header)
	if len(lines) == 0 {
		return nil
	}
	found := make([]place.Value, len(lines))
	for i, line := range lines {
		found[i] = place.Value{Kind: place.KindString, Text: line}
	}
	return found
}

// codeOf returns the code that a value stands for; false where it stands for none.
// Zero is "0": a code was there, and it says that nothing failed.
func codeOf(v place.Value) (code string, is bool) {
	switch v.Kind {
	case place.KindBool:
		return v.Text, v.Text == "true"
	case place.KindComposite:
		text := plaintext.Clean(v.Text, maxCode)
		return text, strings.Trim(text, "{}[] ") != ""
	}
	text := plaintext.Clean(v.Text, maxCode)
	if text == "" {
		return "", false
	}
	if code = CanonicalCode(text); code == "" {
		return "0", true
	}
	return code, true
}

// messageOf joins the strings among the values.
func messageOf(values []place.Value) string {
	var said []string
	for _, v := range values {
		if text := plaintext.Clean(v.Text, maxMessage); text != "" && v.Kind == place.KindString && len(said) < maxJoined {
			said = append(said, text)
		}
	}
	return plaintext.Clean(strings.Join(said, "; "), maxMessage)
}

// flagOf reads a success flag: true or false, as a boolean or as text.
func flagOf(v place.Value) Flag {
	text := strings.TrimSpace(v.Text)
	switch {
	case v.Kind != place.KindBool && v.Kind != place.KindString:
		return FlagAbsent
	case strings.EqualFold(text, "true"):
		return FlagTrue
	case strings.EqualFold(text, "false"):
		return FlagFalse
	}
	return FlagAbsent
}

// keep stores in o what was found in the body for rules and waits.
func (p *Policy) keep(o *Outcome, values place.Values) {
	if len(values) == 0 {
		return
	}
	for _, at := range p.kept {
		found := values.At(at)
		if len(found) == 0 {
			continue
		}
		if o.Found == nil {
			o.Found = map[string][]string{}
		}
		o.Found[at.String()] = texts(found)
	}
}

// texts returns the texts of values, fit to be kept.
func texts(values []place.Value) []string {
	texts := make([]string, len(values))
	for i, v := range values {
		texts[i] = plaintext.Clean(v.Text, maxMessage)
	}
	return texts
}

// compilePlaces collects the places of the body that the joined policy names, so that
// one pass over a body finds them all.
func (p *Policy) compilePlaces() {
	named := p.namedPlaces()
	p.nameHeaders()
	for i := range p.rules {
		m := &p.rules[i].match
		// A rule that matches a code, too, gets the message of the failure with that code.
		if m.fields&fieldMessage != 0 && (m.fields&fieldCode == 0 || m.noCode) && (m.fields&fieldHTTP == 0 || m.http.meets(200, 299)) {
			p.searchesSuccesses = true
		}
	}
	// Several rules may name one place: it is kept once.
	slices.SortFunc(named, func(a, b place.Place) int { return strings.Compare(a.String(), b.String()) })
	named = slices.CompactFunc(named, func(a, b place.Place) bool { return a.String() == b.String() })
	p.kept = slices.DeleteFunc(named, func(at place.Place) bool { return at.Header() != "" || at.IsZero() })
	p.places = place.NewSet(slices.Concat(p.reading.all(), p.kept))
	p.setLooked()
}

// readReading reads the block read.
func (f *file) readReading(v yamlfile.Value) {
	f.reading.at = v.Pos()
	v.Mapping(yamlfile.Fields{
		"code":           func(v yamlfile.Value) { f.reading.code = f.readPlaces(v) },
		"message":        func(v yamlfile.Value) { f.reading.message = f.readPlaces(v) },
		"ok":             func(v yamlfile.Value) { f.reading.ok = f.readPlaces(v) },
		"correlation_id": func(v yamlfile.Value) { f.reading.correlationID = f.readPlaces(v) },
	})
}

// readPlaces reads a list of places; an empty list reads nothing, whatever the extended
// policy reads.
func (f *file) readPlaces(v yamlfile.Value) []place.Place {
	places := []place.Place{}
	v.List(func(item yamlfile.Value) {
		if at, ok := f.readPart(item); ok {
			places = append(places, at)
		}
	})
	return places
}

// readPart reads a place, or a mapping of a place and a regular expression that selects a
// part of what is there.
func (f *file) readPart(v yamlfile.Value) (at place.Place, ok bool) {
	if v.Kind() != yamlfile.KindMapping {
		return readPlace(v)
	}
	var find *regexp.Regexp
	before := f.Failures()
	given := v.Mapping(yamlfile.Fields{
		"from": func(v yamlfile.Value) { set(&at)(readPlace(v)) },
		"find": func(v yamlfile.Value) { find = readFind(v) },
	})
	if f.Failures() > before {
		return place.Place{}, false
	}
	if given.Lacks("from") || given.Lacks("find") {
		v.Failf("needs from, a place, and find, a regular expression whose first group is read")
		return place.Place{}, false
	}
	return at.Finding(find), true
}

// readFind reads a regular expression with a group.
func readFind(v yamlfile.Value) *regexp.Regexp {
	find := readRegexp(v)
	if find != nil && find.NumSubexp() == 0 {
		v.Failf("has no group; put the part that is to be read into parentheses")
		return nil
	}
	return find
}

// readPlace reads one place. An error in a JSONPath has the column of the character.
func readPlace(v yamlfile.Value) (place.Place, bool) {
	text, ok := v.Text()
	if !ok {
		return place.Place{}, false
	}
	at, err := place.Parse(text)
	var syntax *place.SyntaxError
	switch {
	case errors.As(err, &syntax):
		v.FailAtf(syntax.Column, "%q: %v", text, err)
	case err != nil:
		v.Failf("%q: %v", text, err)
	}
	return at, err == nil
}

// yaml writes the block read.
func (r reading) yaml(w *bytes.Buffer) {
	if len(r.all()) == 0 {
		return
	}
	w.WriteString("\nread:\n")
	for _, part := range []struct {
		key    string
		places []place.Place
	}{{"code", r.code}, {"message", r.message}, {"ok", r.ok}, {"correlation_id", r.correlationID}} {
		if len(part.places) > 0 {
			fmt.Fprintf(w, "  %s: %s\n", part.key, quotedPlaces(part.places))
		}
	}
}

func quotedPlaces(places []place.Place) string {
	texts := make([]string, len(places))
	for i, at := range places {
		if texts[i] = at.String(); !at.HasFind() {
			texts[i] = quote(at.String())
		}
	}
	return flow(texts)
}
