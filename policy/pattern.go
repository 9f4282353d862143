package policy

import (
	"errors"
	"strings"

	"github.com/seed-2903acc3/callq/internal/glob"
)

// Pattern matches endpoints: "METHOD /path/*". METHOD may be *. A * in the path stands
// for any text, including slashes. The zero value matches nothing.
type Pattern struct{ method, path string }

// ParsePattern parses a pattern. The error says what is wrong with s and does not
// repeat it.
func ParsePattern(s string) (Pattern, error) {
	method, path, ok := strings.Cut(s, " ")
	switch {
	case !ok || method == "" || path == "":
		return Pattern{}, errors.New(`is not "METHOD /path/*"; METHOD may be *`)
	case method != strings.ToUpper(method):
		return Pattern{}, errors.New(`has a method that is not in upper case; write one as in "GET /path/*"`)
	case path[0] != '/' && path[0] != '*':
		return Pattern{}, errors.New(`has a path that does not begin with / or *; write one as in "GET /path/*"`)
	case strings.ContainsAny(path, " \t\r\n?#"):
		return Pattern{}, errors.New("has a space, a query or a fragment in its path; take it out")
	}
	return Pattern{method, path}, nil
}

// Match reports whether the pattern covers a method, in upper case, and a path
// without its query string.
func (p Pattern) Match(method, path string) bool {
	return p.method != "" && (p.method == "*" || p.method == method) && glob.Match(p.path, path)
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.method + " " + p.path }

// covers reports whether p matches every endpoint that other matches. Only a star of p
// can match a star of other, and it then matches whatever that star stands for.
func (p Pattern) covers(other Pattern) bool { return p.Match(other.method, other.path) }

// splitEndpoint splits an attempt's endpoint into method and path. An endpoint without a
// method has the attempt's.
func splitEndpoint(a *Attempt) (method, path string) {
	if method, path, ok := strings.Cut(a.Endpoint, " "); ok {
		return method, path
	}
	return a.Method, a.Endpoint
}
