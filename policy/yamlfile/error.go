package yamlfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos says where a value was written. The zero value is nowhere: a default.
type Pos struct {
	// File is the path as the user gave it, or the name of the flag or of the
	// environment variable that held the value.
	File string
	// Line and Column count from 1; both are 0 where File is no file, or where
	// the whole file is meant.
	Line, Column int
}

// Errorf returns an error that says what is wrong at the position.
func (p Pos) Errorf(format string, args ...any) *Error {
	return &Error{Pos: p, Message: fmt.Sprintf(format, args...)}
}

// String is FILE:LINE:COL, or what of it is known.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Error is one mistake in a file: where it is, what is wrong and what to do. Its
// message never holds a secret.
type Error struct {
	Pos
	Message string
}

// Error is FILE:LINE:COL: message.
func (e *Error) Error() string {
	if e.File == "" {
		return e.Message
	}
	return e.String() + ": " + e.Message
}

// Errors are all mistakes of one file, in the order of their lines, or of several
// files, one file after the other. [errors.As] with a *[Error] finds the first.
type Errors []*Error

// Error has one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap makes each of them reachable for [errors.As].
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Err returns the mistakes as an error, nil where there are none. An empty list
// would be a non-nil error.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort puts the mistakes into the order of their lines. Those of several files stay
// in the order in which the files first appear.
func (e Errors) Sort() {
	first := map[string]int{}
	for i, one := range e {
		if _, known := first[one.File]; !known {
			first[one.File] = i
		}
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(first[a.File]-first[b.File], a.Line-b.Line, a.Column-b.Column)
	})
}
