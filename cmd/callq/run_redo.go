package main

import (
	"io"
	"os"
	"strings"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// redoStates returns the states that --redo names.
func redoStates(list []string) ([]tasks.State, error) {
	var states []tasks.State
	for _, one := range list {
		switch s := tasks.State(strings.TrimSpace(one)); s {
		case tasks.StateDead, tasks.StateDropped, tasks.StateCancelled:
			states = append(states, s)
		case tasks.StateDone:
			return nil, usageError("--redo done: done calls cannot be redone this way; name them with --redo-keys or --redo-from, or write dead, dropped or cancelled. To make all calls again, copy the file to another name and run that")
		default:
			return nil, usageError("--redo %q: write dead, dropped or cancelled", one)
		}
	}
	return states, nil
}

// redoCalls returns the calls that --redo-keys and --redo-from name.
func (a *app) redoCalls(file string, f runFlags) ([]filerun.CallRef, error) {
	var list []filerun.CallRef
	for _, key := range f.redoKeys {
		if key = strings.TrimSpace(key); key != "" {
			list = append(list, filerun.CallRef{Key: key})
		}
	}
	if f.redoFrom == "" {
		return list, nil
	}
	name, from := f.redoFrom, io.Reader(nil)
	if name == "-" {
		if file == "-" {
			return nil, usageError("--redo-from -: FILE is standard input already; name a file for one of them")
		}
		name, from = "standard input", a.stdin
	} else {
		in, err := os.Open(name)
		if err != nil {
			return nil, usageError("--redo-from: %w", fileerror.Explain(err))
		}
		defer in.Close()
		from = in
	}
	more, err := filerun.ReadCallRefs(from)
	if err != nil {
		return nil, usageError("--redo-from %s: %w", name, fileerror.WithoutPath(err))
	}
	return append(list, more...), nil
}
