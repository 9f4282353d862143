package config

import (
	"errors"
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

// Errorf makes an error of what is wrong at the position.
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

// Error is one thing that is wrong with the configuration. Its message names
// the key and what to do; it never holds a secret.
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

// Errors is everything that is wrong, in the order of the file.
type Errors []*Error

// Error has one line for each error.
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

// orNil keeps an empty list from becoming a non-nil error.
func (e Errors) orNil() error {
	if len(e) == 0 {
		return nil
	}
	slices.SortStableFunc(e, func(a, b *Error) int {
		if a.File != b.File {
			return 0
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return e
}

// IsError tells whether err is about the configuration, as all errors of this
// package are.
func IsError(err error) bool {
	var one *Error
	return errors.As(err, &one)
}
