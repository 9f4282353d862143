package main

import (
	"os"
	"path/filepath"
	"regexp"

	"github.com/seed-2903acc3/callq/worker/filerun"
)

// streamNames are names of what a process reads from, which look like files to a shell: /dev/stdin, <(…).
var streamNames = regexp.MustCompile(`^/(dev/stdin|dev/fd/[0-9]+|proc/(self|thread-self|[0-9]+)/fd/[0-9]+)$`)

// isStream reports whether a name stands for what can be read only once, or has no place beside it for results. It opens nothing:
// opening a named pipe would wait for whoever writes to it.
func isStream(name string) bool {
	if name == "-" || streamNames.MatchString(filepath.Clean(name)) {
		return true
	}
	info, err := os.Stat(name)
	return err == nil && !info.Mode().IsRegular() && !info.IsDir()
}

// openCalls opens a file of calls. What can be read only once, as a pipe, is copied to a temporary file.
func (a *app) openCalls(name string) (*filerun.Input, error) {
	if name == "-" {
		return filerun.Spool("-", a.stdin)
	}
	if !isStream(name) {
		return filerun.OpenFile(name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError("%w", err)
	}
	defer f.Close()
	if streamNames.MatchString(filepath.Clean(name)) {
		return filerun.Spool("-", f)
	}
	return filerun.Spool(name, f)
}

// outName is where the results of a file go. Those of a stream go to standard output: there is no place beside it.
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
