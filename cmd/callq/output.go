package main

import (
	"encoding/json"
	"fmt"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/console"
)

// printJSON writes v as one line of JSON.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// progressf writes a line of progress, unless --quiet was given.
func (a *app) progressf(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// newProgress returns the progress of a command.
func (a *app) newProgress() *console.Progress {
	return console.NewProgress(a.screen, a.stderr, a.quiet)
}
