package yamlfile

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Pos is where a value is written. The zero value is the position of a default, which
// is not written anywhere.
type Pos struct {
	// File is the path as the user gave it, or the name of the flag or of the
	// environment variable that has the value.
	File string
	// Line and Column count from 1. Both are 0 if File is not a file, or if the
	// position is the whole file.
	Line, Column int
}

// Errorf returns an error that says what is wrong at the position.
func (p Pos) Errorf(format string, args ...any) *Error {
	return &Error{Pos: p, Message: fmt.Sprintf(format, args...)}
}

// String returns FILE:LINE:COL, or only FILE if there is no line.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line) + ":" + strconv.Itoa(p.Column)
}

// Error is one mistake in a file: where it is, what is wrong and what to do. Its
// message never contains a secret.
type Error struct {
	Pos
	Message string
}

// Error returns FILE:LINE:COL: message.
func (e *Error) Error() string {
	if e.File == "" {
		return e.Message
	}
	return e.String() + ": " + e.Message
}

// Errors are all mistakes of one file, in the order of their lines, or of several
// files, one file after the other. [errors.As] with a *[Error] finds the first.
type Errors []*Error

// Error returns one line for each mistake.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the mistakes, for [errors.As].
func (e Errors) Unwrap() []error {
	all := make([]error, len(e))
	for i, one := range e {
		all[i] = one
	}
	return all
}

// Err returns the mistakes as an error, or nil if there are none. An empty list itself
// would be an error that is not nil.
func (e Errors) Err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Sort sorts the mistakes by line. Those of several files stay in the order in which
// the files first appear.
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
