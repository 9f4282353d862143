package tasks

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// FieldError says what is wrong with one call: where, what, and how to fix it. It never
// repeats a header's value, a body or a query string, which may hold secrets.
type FieldError struct {
	Line    int    // in the file, from 1; 0 if the call came from elsewhere
	Field   string // as in the file, "headers.X-Name" and "query.name" within; empty if the whole line is wrong
	Problem string // "must begin with …"
	Fix     string // what to do; may be empty
}

// Error returns, for example, line 17: field "path" is missing; every call needs one.
func (e *FieldError) Error() string {
	var subjects []string
	if e.Line > 0 {
		subjects = append(subjects, fmt.Sprintf("line %d", e.Line))
	}
	if e.Field != "" {
		subjects = append(subjects, "field "+strconv.Quote(e.Field))
	}
	text := strings.Join(subjects, ": ")
	switch verb, _, _ := strings.Cut(e.Problem, " "); {
	case text == "":
	case slices.Contains([]string{"is", "has", "must", "ends", "appears"}, verb):
		text += " " // one sentence: line 3: field "path" is missing
	default:
		text += ": "
	}
	text += e.Problem
	if e.Fix != "" {
		text += "; " + e.Fix
	}
	return text
}
