package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
	"github.com/seed-2903acc3/callq/worker/filerun"
	"github.com/spf13/cobra"
)

// The exit statuses.
const (
	exitWell        = 0 // all is done
	exitFailed      = 1 // something failed, was refused, or was found
	exitUsage       = 2 // the command line, the configuration or the input is wrong
	exitFailedCalls = 3 // finished, but some calls are dead or dropped
)

// exitError carries an exit status. A nil err has nothing to say: the command
// has said it.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// Any error that says nothing else is exitFailed; these say something else, or
// nothing.
var (
	// errFindings ends a command that has printed what it found.
	errFindings = &exitError{status: exitFailed}
	// errFailedCalls ends a command that has printed which calls are dead or dropped.
	errFailedCalls = &exitError{status: exitFailedCalls}
)

// usageError makes an error of the command line, the configuration or the input that
// is found once a command is at work.
func usageError(format string, args ...any) error {
	return &exitError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// usage is an error of the command line, with a hint to where it is described.
func usage(cmd *cobra.Command, err error) error {
	// Some of cobra's messages have lines of suggestions after the first.
	message, _, _ := strings.Cut(err.Error(), "\n")
	return usageError("%s; see %s --help", message, cmd.CommandPath())
}

// statusOf gives the exit status of an error. Where several errors are joined
// it is that of the worst: 2, then 1, then 3.
func statusOf(err error) int {
	if err == nil {
		return exitWell
	}
	switch e := err.(type) { //nolint:errorlint // this walks the tree of errors itself
	case *exitError:
		return e.status
	case *yamlfile.Error, yamlfile.Errors, *filerun.InputError:
		return exitUsage
	case interface{ Unwrap() error }:
		if inner := e.Unwrap(); inner != nil {
			return statusOf(inner)
		}
	case interface{ Unwrap() []error }:
		worst := exitWell
		for _, inner := range e.Unwrap() {
			worst = worse(worst, statusOf(inner))
		}
		if worst != exitWell {
			return worst
		}
	}
	return exitFailed
}

func worse(a, b int) int {
	rank := map[int]int{exitWell: 0, exitFailedCalls: 1, exitFailed: 2, exitUsage: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// located is a finding in an input whose text begins with its position.
type located struct{ text string }

func (e *located) Error() string { return e.text }

// report writes an error to stderr, each part of it on a line of its own.
// Findings with a position begin with it, as editors and compilers have it.
func (a *app) report(err error) {
	switch e := err.(type) { //nolint:errorlint // this walks the tree of errors itself
	case nil:
		return
	case *exitError:
		if e.err != nil {
			a.report(e.err)
		}
		return
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			a.report(inner)
		}
		return
	}
	if fileerror.ReaderLeft(err) {
		return // as with head: nobody waits for more, and nothing is wrong
	}
	prefix := "callq: "
	var inFile *yamlfile.Error
	var elsewhere *located
	switch {
	case errors.As(err, &inFile), errors.As(err, &elsewhere):
		prefix = ""
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(a.stderr, prefix+console.Printable(line))
	}
}

// findings are the single errors of err, each in a line.
func findings(err error) []string {
	switch e := err.(type) { //nolint:errorlint // this walks the tree of errors itself
	case *exitError:
		if e.err != nil {
			return findings(e.err)
		}
	case interface{ Unwrap() []error }:
		var all []string
		for _, inner := range e.Unwrap() {
			all = append(all, findings(inner)...)
		}
		return all
	}
	lines := strings.Split(err.Error(), "\n")
	for i := range lines {
		lines[i] = console.Printable(lines[i])
	}
	return lines
}
