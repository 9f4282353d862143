package place

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
)

// maxSearched is how many bytes of a body that is not JSON are searched.
const maxSearched = 256 << 10

// Finding returns the place p of which only a part of each value is meant: what the first
// group of re matches, or all that re matches where it has no group. Of a text only the
// first match counts, and of a body the first 256 KiB are searched.
func (p Place) Finding(re *regexp.Regexp) Place {
	p.find = re
	p.shown = "{from: " + quote(p.text) + ", find: " + quote(re.String()) + "}"
	return p
}

// Matching returns the place p, the text of a body, of which only what re matches is
// meant. It is found where re matches.
func (p Place) Matching(re *regexp.Regexp) Place {
	p.find, p.whole = re, true
	p.shown = p.text + ": " + quote(re.String())
	return p
}

// HasFind reports whether only a part of each value is meant.
func (p Place) HasFind() bool { return p.find != nil }

// key is the name under which Values has what was found. What find selects of a JSON value
// or a header is selected when it is looked up.
func (p Place) key() string {
	if p.body {
		return p.shown
	}
	return p.text
}

// ReadText finds the values of all places in the text of a body that is not JSON. The
// time that it takes is proportional to the part of the text that is searched. It is pure
// and total, and keeps nothing of body.
func (s *Set) ReadText(body []byte) Values {
	if s == nil || len(s.texts) == 0 || len(body) == 0 {
		return nil
	}
	found := Values{}
	for _, p := range s.texts {
		if p.find == nil {
			found.add(p.key(), Value{KindString, bounded(string(body[:min(len(body), maxText)]))})
		} else if part, ok := p.part(body[:min(len(body), maxSearched)]); ok {
			found.add(p.key(), Value{KindString, part})
		}
	}
	return found
}

// part returns the part of text that is meant; false where there is none, or the group has
// no part in the match.
func (p Place) part(text []byte) (string, bool) {
	at := p.find.FindSubmatchIndex(text)
	if at == nil {
		return "", false
	}
	if !p.whole && p.find.NumSubexp() > 0 {
		at = at[2:]
	}
	if at[0] < 0 {
		return "", false
	}
	return bounded(string(text[at[0]:min(at[1], at[0]+maxText)])), true
}

// quote writes a text in double quotes, in a form that is valid YAML and JSON.
func quote(s string) string {
	var w bytes.Buffer
	e := json.NewEncoder(&w)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return s // unreachable: a string always has a JSON form
	}
	return strings.TrimSuffix(w.String(), "\n")
}
