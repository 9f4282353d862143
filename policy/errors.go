package policy

import (
	"fmt"
	"strings"
)

// Error is one finding in a policy file or a file of recorded cases: what is
// wrong, where, and what to do. Lines and columns count from 1; 0 means that
// the finding is about the whole file.
type Error struct {
	File    string
	Line    int
	Column  int
	Message string
}

// Error gives the finding as "FILE:LINE:COL: message".
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Message
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
}

// Errors are all the findings of one load, in the order of the files.
// [errors.As] with a *[Error] finds the first.
type Errors []*Error

// Error gives one finding a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the findings one by one.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, one := range e {
		errs[i] = one
	}
	return errs
}

// orNil keeps an empty list from becoming a non-nil error.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	return e
}
