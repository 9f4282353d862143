package policy

import (
	"fmt"
	"maps"
	"strings"

	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Match is what a rule's match says, outside a rule: what an answer must look like. The
// zero value matches no answer. A Match never changes and may be used by any number of
// goroutines.
type Match struct {
	match  *match
	places *place.Set
	text   string
}

// ParseMatch reads a match as a rule has it, in YAML or JSON, such as
// {http: ["2xx"], where: {"$.order.id": present}}.
func ParseMatch(text string) (Match, error) {
	f := readFile("match", []byte("rules:\n  - {id: match, match: "+text+"}\n"))
	if err := f.Err(); err != nil || len(f.rules) != 1 {
		return Match{}, fmt.Errorf("policy: %w", withoutPlaces(f.Errors()))
	}
	m := &f.rules[0].match
	if m.fields == 0 {
		return Match{}, fmt.Errorf("policy: a match of no field matches every answer; name at least one field")
	}
	places := make([]place.Place, 0, len(m.where))
	for _, w := range m.where {
		places = append(places, w.at)
	}
	return Match{match: m, places: place.NewSet(places), text: m.yaml()}, nil
}

// withoutPlaces takes the lines and columns out of errors: they are of a text that has
// no file.
func withoutPlaces(errs yamlfile.Errors) error {
	for i, err := range errs {
		plain := *err
		plain.Pos, plain.Message = yamlfile.Pos{}, strings.ReplaceAll(plain.Message, "rules[0].match", "match")
		errs[i] = &plain
	}
	return errs
}

// IsZero reports whether m is the zero value.
func (m Match) IsZero() bool { return m.match == nil }

// String returns the match in YAML.
func (m Match) String() string { return m.text }

// MarshalText returns the match in YAML.
func (m Match) MarshalText() ([]byte, error) { return []byte(m.text), nil }

// Fits reports whether an answer is as m says. o is what a policy has read of it, and body
// is its body, in which the places of m are looked up.
func (m Match) Fits(o Outcome, body []byte, a Attempt) bool {
	if m.match == nil {
		return false
	}
	if !m.places.IsEmpty() {
		found := maps.Clone(o.Found)
		if found == nil {
			found = map[string][]string{}
		}
		var values place.Values
		switch {
		case place.IsJSON(body):
			values = m.places.Read(body)
		case o.Body == BodyHTML, o.Body == BodyMalformed:
			values = m.places.ReadText(body)
		}
		for text, values := range values {
			found[text] = texts(values)
		}
		o.Found = found
	}
	in := newInput(&o, &a)
	return in.answered && m.match.miss(&in) == 0
}
