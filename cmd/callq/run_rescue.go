package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// rescue writes the results that could not be written to a new file in the folder for
// temporary files, for a queue that ends with the process. Its error says where they
// are, or that they are lost.
func (r *resultsFile) rescue() error {
	lines := r.pending[bytes.LastIndexByte(r.pending[:r.taken], '\n')+1:]
	n := plural(bytes.Count(lines, []byte("\n")), "result")
	f, err := os.CreateTemp("", "callq-results-*.jsonl")
	if err != nil {
		return fmt.Errorf("%s that could not be written: the queue was in this process, and they are lost with it: %w", n, err)
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name()) // the first error is the one to tell
		return fmt.Errorf("%s that could not be written: the queue was in this process, and they are lost with it: %w", n, unstored(f.Name(), err))
	}
	if r.file == nil {
		return fmt.Errorf("%s that could not be written: the queue was in this process; they are in %s. With -o %s the next run does not make these calls again",
			n, f.Name(), shellWord(f.Name()))
	}
	return fmt.Errorf("%s that could not be written: the queue was in this process; they are in %s. Add them to %s before you run the command again: cat %s >> %s",
		n, f.Name(), r.name, shellWord(f.Name()), shellWord(r.name))
}
