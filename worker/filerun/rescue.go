package filerun

import (
	"bytes"
	"errors"
	"os"

	"github.com/seed-2903acc3/callq/internal/fileerror"
)

// rescue writes the results that could not be written to a new file in the folder for
// temporary files, for a queue that ends with the process. Its error, a [RescueError],
// says where they are, or that they are lost.
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
		_ = os.Remove(f.Name()) // the first error is the one to tell
		rescued.Err = &StorageError{File: f.Name(), Err: fileerror.WithoutPath(err)}
		return rescued
	}
	rescued.File = f.Name()
	return rescued
}
