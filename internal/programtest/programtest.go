// Package programtest builds the real program, and collects its output, for tests that
// start it as a process. Only tests import it.
package programtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"sync"
)

// Package is the import path of the program.
const Package = "github.com/seed-2903acc3/callq/cmd/callq"

// Build builds the program into the file path, with flags of go build such as -race. If it
// can, it builds with low priority, because other tests measure times meanwhile.
func Build(path string, flags ...string) error {
	args := append([]string{"go", "build", "-o", path}, flags...)
	args = append(args, Package)
	if nice, err := exec.LookPath("nice"); err == nil {
		args = append([]string{nice}, args...)
	}
	if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("build callq: %w\n%s", err, out)
	}
	return nil
}

// Log is the output of a running program. It may be read while the program writes. The
// zero value is empty and ready for use.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write adds to the log; it implements [io.Writer].
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String returns all that was written.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Tail returns the end of what was written, at most n bytes.
func (l *Log) Tail(n int) string {
	text := l.String()
	return text[max(0, len(text)-n):]
}

// Lines returns the number of lines that were written.
func (l *Log) Lines() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.b.Bytes(), []byte("\n"))
}
