package worker

import (
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
)

// patterns is an ordered list of endpoint patterns; the first match wins.
type patterns []policy.Pattern

func parsePatterns(field string, list []string) (patterns, error) {
	ps := make(patterns, len(list))
	for i, s := range list {
		p, err := policy.ParsePattern(s)
		if err != nil {
			return nil, fmt.Errorf("%s[%d]: %q %w", field, i, s, err)
		}
		ps[i] = p
	}
	return ps, nil
}

func (ps patterns) find(method, path string) (policy.Pattern, bool) {
	for _, p := range ps {
		if p.Match(method, path) {
			return p, true
		}
	}
	return policy.Pattern{}, false
}

// endpoint folds a call's path into the endpoint by which circuits, groups and statistics
// count: the first configured pattern that matches, or else the path with a star for every
// segment that looks like an identifier.
func (ps patterns) endpoint(method, path string) string {
	if p, ok := ps.find(method, path); ok {
		_, pattern, _ := strings.Cut(p.String(), " ")
		return method + " " + pattern
	}
	folded := make([]byte, 0, len(method)+1+len(path))
	folded = append(append(folded, method...), ' ')
	for segment := range strings.SplitSeq(path, "/") {
		if identifier(segment) {
			segment = "*"
		}
		folded = append(append(folded, segment...), '/')
	}
	return string(folded[:len(folded)-1]) // there is one "/" less than segments
}

// identifier reports whether a path segment names one thing (a number, a UUID, a patent's
// number, a hash), and not a kind of thing ("v2", "search").
func identifier(s string) bool {
	digits := 0
	for _, c := range s {
		if c >= '0' && c <= '9' {
			digits++
		}
	}
	return digits > 0 && (digits == len(s) || len(s) >= 8 && digits >= 2 || strings.ContainsRune(s, '%')) || len(s) > 40
}

// IdempotentCalls returns the function by which a worker decides whether a call of an
// upstream may be sent twice. The calls must be valid.
func IdempotentCalls(u Upstream) (idempotent func(tasks.Call) bool, err error) {
	u = u.withDefaults()
	a := &account{honoursKey: u.IdempotencyHeader != ""}
	if a.idempotent, err = parsePatterns("idempotent", u.Idempotent); err != nil {
		return nil, err
	}
	return func(c tasks.Call) bool {
		path, err := c.URLPath()
		return err == nil && a.isIdempotent(c, path)
	}, nil
}
