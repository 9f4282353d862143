package policy

import (
	"errors"
	"strings"
)

// endpointPattern is "METHOD /path/*": METHOD may be *, and a * in the path
// stands for any text, slashes included.
type endpointPattern struct {
	method string
	path   string
}

func parseEndpoint(s string) (endpointPattern, error) {
	method, path, ok := strings.Cut(s, " ")
	switch {
	case !ok || method == "" || path == "":
		return endpointPattern{}, errors.New(`an endpoint is "METHOD /path/*"; METHOD may be *`)
	case method != strings.ToUpper(method):
		return endpointPattern{}, errors.New("the method of an endpoint is written in upper case")
	case path[0] != '/' && path[0] != '*':
		return endpointPattern{}, errors.New("the path of an endpoint begins with / or *")
	case strings.ContainsAny(path, " \t\r\n?#"):
		return endpointPattern{}, errors.New("the path of an endpoint has no space, query or fragment")
	}
	return endpointPattern{method: method, path: path}, nil
}

func (p endpointPattern) String() string { return p.method + " " + p.path }

func (p endpointPattern) match(method, path string) bool {
	return (p.method == "*" || p.method == method) && glob(p.path, path)
}

// covers tells that every endpoint of other is one of p. A star of other can
// only be taken by a star of p, which then takes whatever it stands for.
func (p endpointPattern) covers(other endpointPattern) bool {
	return p.match(other.method, other.path)
}

// splitEndpoint takes an attempt's endpoint apart; one without a method of its
// own has the attempt's.
func splitEndpoint(a *Attempt) (method, path string) {
	if method, path, ok := strings.Cut(a.Endpoint, " "); ok {
		return method, path
	}
	return a.Method, a.Endpoint
}

// glob matches s against a pattern whose stars stand for any text. It goes back
// to the last star only, so that it takes at most len(pattern)*len(s) steps.
func glob(pattern, s string) bool {
	p, i := 0, 0
	star, from := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			from++
			p, i = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
