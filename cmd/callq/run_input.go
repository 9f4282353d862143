package main

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

// streamNames are the names of a process's open files, which look like files to a shell:
// /dev/stdin, <(…).
var streamNames = regexp.MustCompile(`^/(dev/stdin|dev/fd/[0-9]+|proc/(self|thread-self|[0-9]+)/fd/[0-9]+)$`)

// isStream reports whether a file can be read only once, or has no folder in which results
// can be written. It opens nothing, because opening a named pipe would wait until a program
// writes to it.
func isStream(name string) bool {
	if name == "-" || streamNames.MatchString(filepath.Clean(name)) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// openCalls opens a file of calls. A file that can be read only once, such as a pipe, is
// copied to a temporary file.
func (a *app) openCalls(name string) (*filerun.Input, error) {
	if name == "-" {
		return filerun.Spool("-", a.stdin)
	}
	if !isStream(name) {
		return filerun.OpenFile(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError("%w", fileerror.Explain(err))
	}
	defer f.Close()
	if streamNames.MatchString(filepath.Clean(name)) {
		return filerun.Spool("-", f)
	}
	return filerun.Spool(name, f)
}

// outName returns the output file for the results of a file. The results of a stream are
// written to standard output, because a stream has no folder.
func outName(file, out string) string {
	switch {
	case out != "":
		return out
	case isStream(file):
		return "-"
	default:
		return file + ".results.jsonl"
	}
}
