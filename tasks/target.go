package tasks

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

func checkCallPath(c *Call, own UpstreamRules) *FieldError {
	if bad := checkPath(c.Path); bad != nil {
		return bad
	}
	if len(own.ReservedQuery) == 0 {
		return nil
	}
	_, query, _ := strings.Cut(c.Path, "?")
	for param := range strings.FieldsFuncSeq(query, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(param, "=")
		if name = httpsyntax.Unescape(strings.ReplaceAll(name, "+", " ")); slices.Contains(own.ReservedQuery, name) {
			return reservedParam("path", name)
		}
	}
	return nil
}

func reservedParam(field, name string) *FieldError {
	return &FieldError{
		Field: field, Problem: fmt.Sprintf("the parameter %s carries the upstream's credential", shown(name)),
		Fix: "leave it out; callq adds it",
	}
}

// checkPath refuses every path that could leave the upstream's base_url.
func checkPath(path string) *FieldError {
	bad := func(problem, fix string) *FieldError { return &FieldError{Field: "path", Problem: problem, Fix: fix} }
	const relative = "write the path relative to the upstream's base_url"
	switch {
	case path == "":
		return bad("is missing", `every call needs one, such as "/search"`)
	case hasScheme(path):
		return bad("is an absolute URL", relative)
	case path[0] != '/':
		got, _, _ := strings.Cut(path, "?")
		return bad(fmt.Sprintf(`must begin with "/" (got %s)`, shown(got)), relative)
	case strings.HasPrefix(path, "//"), strings.HasPrefix(path, `/\`):
		return bad("begins with two slashes and so names a host", relative)
	case len(path) > maxTarget:
		return bad(fmt.Sprintf("has %d bytes", len(path)), fmt.Sprintf("at most %d are allowed; put longer data into a body", maxTarget))
	case strings.Contains(path, "#"):
		return bad("has a fragment, which is never sent", `write "%23" for a "#"`)
	}
	if bad := checkText("path", path); bad != nil {
		return bad
	}
	if bad := checkEscapes(path); bad != nil {
		return bad
	}
	target, _, _ := strings.Cut(path, "?")
	return checkSegments(target)
}

func hasScheme(s string) bool {
	scheme, _, found := strings.Cut(s, ":")
	if !found || scheme == "" {
		return false
	}
	for i := range len(scheme) {
		b := scheme[i]
		letter := 'a' <= b|0x20 && b|0x20 <= 'z'
		if !letter && (i == 0 || (b < '0' || b > '9') && b != '+' && b != '-' && b != '.') {
			return false
		}
	}
	return true
}

// checkSegments refuses a path with segments that could leave the upstream's base_url.
func checkSegments(path string) *FieldError {
	fixes := map[error]string{
		httpsyntax.ErrDotSegment: "write the path that it leads to",
		httpsyntax.ErrControl:    "remove it",
		httpsyntax.ErrEncodings:  "encode it once",
	}
	if err := httpsyntax.CheckSegments(path); err != nil {
		return &FieldError{Field: "path", Problem: err.Error(), Fix: fixes[err]}
	}
	return nil
}

func checkEscapes(s string) *FieldError {
	for i := strings.IndexByte(s, '%'); i >= 0 && i < len(s); i++ {
		if s[i] == '%' && !httpsyntax.IsEscape(s, i) {
			return &FieldError{Field: "path", Problem: `has a "%" without two hex digits`, Fix: `write "%25" for a "%"`}
		}
	}
	return nil
}

func checkQuery(c *Call, own UpstreamRules) *FieldError {
	if len(c.Query) == 0 {
		c.Query = nil
		return nil
	}
	canonical, copied, size := c.Query, false, 0
	var few [8]string
	var lone [1]any
	for _, name := range appendSortedNames(few[:0], c.Query) {
		value := c.Query[name]
		if bad := checkText("query", name); bad != nil {
			return bad
		}
		if value == nil {
			if !copied {
				canonical, copied = maps.Clone(c.Query), true
			}
			delete(canonical, name)
			continue
		}
		if slices.Contains(own.ReservedQuery, name) {
			return reservedParam("query", name)
		}
		better, bad := canonicalValue(name, value)
		if bad != nil {
			return bad
		}
		list, isList := better.([]any)
		if !isList {
			lone[0] = better
			list = lone[:]
		}
		for _, one := range list {
			text := scalarText(one)
			if bad := checkText("query", text); bad != nil {
				bad.Field = "query." + name
				return bad
			}
			size += len(name) + len(text) + 2
		}
		if isList || better != value {
			if !copied {
				canonical, copied = maps.Clone(c.Query), true
			}
			canonical[name] = better
		}
	}
	if size > maxTarget {
		return &FieldError{Field: "query", Problem: fmt.Sprintf("has %d bytes", size), Fix: fmt.Sprintf("at most %d are allowed", maxTarget)}
	}
	if len(canonical) == 0 {
		canonical = nil
	}
	c.Query = canonical
	return nil
}
