package filerun

import (
	"bytes"
	"errors"
	"os"

	"github.com/seed-2903acc3/callq/internal/fileerror"
)

// rescue writes the results that could not be written to a new temporary file. It is for a
// queue that is lost when the process ends. It always returns a [RescueError], which says
// where the results are or that they are lost.
func (r *resultsFile) rescue() error {
	lines := r.pending[bytes.LastIndexByte(r.pending[:r.taken], '\n')+1:]
	rescued := &RescueError{Results: bytes.Count(lines, []byte("\n"))}
	f, err := os.CreateTemp("", "callq-results-*.jsonl")
	if err != nil {
		rescued.Err = err
		return rescued
	}
	_, err = f.Write(lines)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name()) // report the first error
		rescued.Err = &StorageError{File: f.Name(), Err: fileerror.WithoutPath(err)}
		return rescued
	}
	rescued.File = f.Name()
	return rescued
}
