package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/plaintext"
	"github.com/seed-2903acc3/callq/policy/place"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// whereMatch wants something of what an answer says at a place.
type whereMatch struct {
	at   place.Place
	want presence
	// pattern is set where want is wantText.
	pattern *regexp.Regexp
}

// presence is what a rule wants of a place.
type presence string

const (
	wantText    presence = ""
	wantPresent presence = "present"
	wantAbsent  presence = "absent"
)

// fits reports whether the answer has at the place what is wanted; of several values, one.
func (w *whereMatch) fits(o *Outcome) bool {
	texts := textsAt(w.at, o)
	switch {
	case w.want == wantPresent, w.want == wantText && w.at.IsBody():
		return len(texts) > 0
	case w.want == wantAbsent:
		return len(texts) == 0
	default:
		return slices.ContainsFunc(texts, w.pattern.MatchString)
	}
}

func (w *whereMatch) yaml() string {
	if w.want != wantText {
		return quote(w.place()) + ": " + string(w.want)
	}
	return quote(w.place()) + ": " + quote(w.pattern.String())
}

// place is the place as the rule names it.
func (w *whereMatch) place() string {
	if w.at.IsBody() {
		return "body"
	}
	return w.at.String()
}

// readWhere reads places with what is wanted of each.
func (f *file) readWhere(v yamlfile.Value, m *match) string {
	var shown []string
	before := f.Failures()
	v.Each(func(name string, value yamlfile.Value) {
		at, err := place.Parse(name)
		var syntax *place.SyntaxError
		switch {
		case errors.As(err, &syntax):
			value.FailKeyAtf(syntax.Column, "%v", err)
			return
		case err != nil:
			value.FailKeyf("is wrong: %v", err)
			return
		}
		w := whereMatch{at: at}
		switch text, ok := value.AnyText(); {
		case !ok:
			return
		case text == string(wantPresent), text == string(wantAbsent):
			w.want = presence(text)
		default:
			if w.pattern = readRegexp(value); w.pattern == nil {
				return
			}
			if at.IsBody() {
				// All of the text is searched, but only what matches is kept.
				w.at = at.Matching(w.pattern)
			}
		}
		if at.SelectsAnything() {
			f.note(value.Key(), fmt.Sprintf("%s also selects values without that member, such as a number, because what is missing differs from every value; "+
				"test first that it is there, as in [?@.a && @.a != 'x']", at))
		}
		m.where = append(m.where, w)
		shown = append(shown, w.yaml())
	})
	if len(m.where) == 0 && f.Failures() == before {
		v.Failf("is empty; name at least one place, or take the key out")
	}
	return "{" + strings.Join(shown, ", ") + "}"
}

// readCodeWord reads a code that is not a number. It is compared as it is written.
func (f *file) readCodeWord(item yamlfile.Value, text string, m *match, shown *[]string) {
	if clean := plaintext.Clean(text, maxCode); clean != text || text == "" {
		item.Failf("is not a code that an API can give: one has 1 to %d printable characters, no space around them", maxCode)
		return
	}
	m.codes = append(m.codes, text)
	*shown = append(*shown, quote(text))
}

// gotWhere gives what the answer has at the wanted places.
func (in *input) gotWhere(m *match) string {
	var parts []string
	for i := range m.where {
		w := &m.where[i]
		if !w.fits(in.outcome) {
			parts = append(parts, w.place()+": "+orNone(strings.Join(textsAt(w.at, in.outcome), ", ")))
		}
	}
	return strings.Join(parts, ", ")
}
