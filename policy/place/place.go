package place

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"regexp"
	"strconv"
	"strings"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

// Place is where an answer says something. The zero value is no place; nothing is ever
// found there.
type Place struct {
	// text is the place as a policy file writes it, and shown that with find.
	text, shown string
	header      string
	// body reports that the place is the text of a body that is not JSON.
	body bool
	// find selects a part of each value, by its first group or, if whole, by its match; nil:
	// the whole value is meant.
	find  *regexp.Regexp
	whole bool
	// names are the names that a JSONPath begins with, and rest is what follows them;
	// nil: nothing follows.
	names []string
	rest  *jsonpath.Path
}

// bodyText is the place of the text of a body that is not JSON.
const bodyText = "body"

// Parse reads "header NAME", "body" or a JSONPath. An error that is about one column of
// the text is a [*SyntaxError].
func Parse(text string) (Place, error) {
	if text == bodyText {
		return Place{text: text, shown: text, body: true}, nil
	}
	if name, ok := strings.CutPrefix(text, "header "); ok {
		name = strings.TrimSpace(name)
		if !httpsyntax.IsToken(name) {
			return Place{}, fmt.Errorf("%q is not a header name", name)
		}
		text = "header " + strings.ToLower(name)
		return Place{text: text, shown: text, header: textproto.CanonicalMIMEHeaderKey(name)}, nil
	}
	if !strings.HasPrefix(text, "$") {
		return Place{}, errors.New(`not a place; write "header NAME", body, or a JSONPath, which begins with $`)
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		return Place{}, syntaxError(err)
	}
	if err := checkCost(text, path); err != nil {
		return Place{}, err
	}
	return split(text, path), nil
}

// split separates the names that a path begins with, which are found without decoding.
func split(text string, path *jsonpath.Path) Place {
	p := Place{text: text, shown: text}
	segments := path.Query().Segments()
	for len(segments) > 0 {
		name, ok := onlyName(segments[0])
		if !ok {
			p.rest = jsonpath.New(spec.Query(true, segments...))
			break
		}
		p.names = append(p.names, name)
		segments = segments[1:]
	}
	return p
}

func onlyName(s *spec.Segment) (string, bool) {
	selectors := s.Selectors()
	if s.IsDescendant() || len(selectors) != 1 {
		return "", false
	}
	name, ok := selectors[0].(spec.Name)
	return string(name), ok
}

// String returns the place as a policy file writes it: "$.a", or with find {from: "$.a",
// find: "RE"}.
func (p Place) String() string { return p.shown }

// Header returns the header's name in its canonical form, or "" for a place in the body.
func (p Place) Header() string { return p.header }

// IsBody reports whether the place is the text of a body that is not JSON.
func (p Place) IsBody() bool { return p.body }

// IsZero reports whether p is no place.
func (p Place) IsZero() bool { return p.text == "" }

// InHeader returns the values of the place's header, one a line; nil where the place is
// not a header.
func (p Place) InHeader(h http.Header) []string {
	switch {
	case p.header == "":
		return nil
	case p.find == nil:
		return h[p.header]
	}
	var found []string
	for _, line := range h[p.header] {
		if part, ok := p.part([]byte(line)); ok {
			found = append(found, part)
		}
	}
	return found
}

// SyntaxError says where in a JSONPath an error is.
type SyntaxError struct {
	// Column counts characters, from 1.
	Column  int
	Message string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("is not a JSONPath (RFC 9535): %s, at its character %d", e.Message, e.Column)
}

// atPosition is how the library ends its messages.
var atPosition = regexp.MustCompile(`^(.*?)(?: at position| at) (\d+)$`)

func syntaxError(err error) error {
	message := strings.TrimPrefix(err.Error(), jsonpath.ErrPathParse.Error()+": ")
	parts := atPosition.FindStringSubmatch(message)
	if parts == nil {
		return fmt.Errorf("is not a JSONPath (RFC 9535): %s", message)
	}
	column, _ := strconv.Atoi(parts[2])
	return &SyntaxError{Column: max(column, 1), Message: parts[1]}
}
