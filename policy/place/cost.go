package place

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"
)

// What a JSONPath may hold, so that its evaluation takes time that is proportional to
// the part of the body that it looks at.
const (
	maxPath = 512
	// maxFilters bounds how deep filters can nest.
	maxFilters = 3
	// maxRepeats bounds how often one value can be selected, where a segment names
	// several selectors: ['a','a']['a','a'] selects a value four times.
	maxRepeats = 64
)

func checkCost(text string, path *jsonpath.Path) error {
	if len(text) > maxPath {
		return fmt.Errorf("is longer than %d bytes", maxPath)
	}
	plain := withoutStrings(text)
	if strings.Count(plain, "..") > 1 {
		return fmt.Errorf("has .. more than once, which can take long on a large answer; name the steps between")
	}
	filters := strings.Count(plain, "?")
	if filters > maxFilters {
		return fmt.Errorf("has %d filters; %d is the most", filters, maxFilters)
	}
	_, filter, _ := strings.Cut(plain, "?")
	switch {
	case strings.Contains(filter, "$"):
		return fmt.Errorf("has a filter that starts again from $, which can take long on a large answer; a filter starts from @ here")
	case strings.Contains(filter, ".."):
		return fmt.Errorf("has .. in or after a filter, which can take long on a large answer; name the steps between")
	}
	return checkRepeats(path.Query())
}

// SelectsAnything reports whether the place ends in a filter with != that selects also
// what has no members, such as a number: a member that is missing differs from every value.
func (p Place) SelectsAnything() bool {
	if p.rest == nil {
		return false
	}
	segments := p.rest.Query().Segments()
	for _, s := range segments[len(segments)-1].Selectors() {
		filter, ok := s.(*spec.FilterSelector)
		if !ok {
			continue
		}
		plain := withoutStrings(filter.String())
		if strings.Contains(plain, "!=") && strings.Contains(plain, "@[") && filter.Eval(json.Number("1"), nil) {
			return true
		}
	}
	return false
}

func checkRepeats(q *spec.PathQuery) error {
	repeats := 1
	for _, s := range q.Segments() {
		if repeats *= len(s.Selectors()); repeats > maxRepeats {
			return fmt.Errorf("names so many selectors that one value could be found more than %d times", maxRepeats)
		}
	}
	return nil
}

// withoutStrings takes the quoted names and literals out of a JSONPath.
func withoutStrings(text string) string {
	var b strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			quote = c
		case quote == 0:
			b.WriteByte(c)
		case c == '\\':
			i++
		case c == quote:
			quote = 0
		}
	}
	return b.String()
}
