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
	exitOK          = 0 // success
	exitFailed      = 1 // something failed, was refused, or there are findings
	exitUsage       = 2 // the command line, the configuration or the input is wrong
	exitFailedCalls = 3 // finished, but some calls are dead or dropped
)

// exitError is an error with an exit status. If err is nil, the command has printed what
// is wrong.
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

// Any other error has the status exitFailed. These have no message, because the command
// has printed what is wrong.
var (
	// errFindings ends a command that has printed what it found.
	errFindings = &exitError{status: exitFailed}
	// errFailedCalls ends a command that has printed which calls are dead or dropped.
	errFailedCalls = &exitError{status: exitFailedCalls}
)

// usageError returns an error of the command line, the configuration or the input that a
// command finds while it runs.
func usageError(format string, args ...any) error {
	return &exitError{status: exitUsage, err: fmt.Errorf(format, args...)}
}

// usage returns an error of the command line that says where the command is described.
func usage(cmd *cobra.Command, err error) error {
	// Some messages of cobra have lines with suggestions after the first line.
	message, _, _ := strings.Cut(err.Error(), "\n")
	see := "; see"
	if strings.HasSuffix(message, "?") {
		see = " See"
	}
	return usageError("%s%s %s --help", message, see, cmd.CommandPath())
}

// statusOf returns the exit status of an error. If several errors are joined, it is that of
// the worst: 2, then 1, then 3.
func statusOf(err error) int {
	if err == nil {
		return exitOK
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
		worst := exitOK
		for _, inner := range e.Unwrap() {
			worst = worse(worst, statusOf(inner))
		}
		if worst != exitOK {
			return worst
		}
	}
	return exitFailed
}

func worse(a, b int) int {
	rank := map[int]int{exitOK: 0, exitFailedCalls: 1, exitFailed: 2, exitUsage: 3}
	if rank[b] > rank[a] {
		return b
	}
	return a
}

// located is a finding in a file of calls. Its text begins with its position.
type located struct{ text string }

func (e *located) Error() string { return e.text }

// report writes an error to stderr, each part of it on its own line. Findings with a
// position begin with it, as in the messages of compilers.
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
	if fileerror.ReaderClosed(err) {
		return // as with head: the reader has enough, and nothing is wrong
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

// findings returns the single errors of err, one line each.
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
