package filerun

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/seed-2903acc3/callq/internal/fileerror"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun/internal/callsfile"
)

// Input is a source of calls that can be read more than once. It is not safe for
// concurrent use.
type Input struct {
	name, batch string
	source      io.ReadSeeker
	// file is source if that is a file; spooled reports that it is a temporary copy.
	file    *os.File
	spooled bool
	// packing is the compression of the source, and unpacked the current decoder.
	packing  callsfile.Packing
	unpacked io.Closer
}

// OpenFile opens a file of calls, one JSON object per line. It decompresses a file whose
// name ends in .gz or .zst. The path is the identity of the input: a later run of the same
// path continues with the calls of this one. A file that cannot be read, or is not a file
// of calls, is an [InputError].
func OpenFile(name string) (*Input, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, inputError(ProblemCalls, "%w", fileerror.Explain(err))
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = inputError(ProblemCalls, "%s is a directory (a folder); name a file of calls, one JSON object a line", name)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	path, err := filepath.Abs(name)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	sum := sha256.Sum256([]byte(path))
	in := &Input{name: name, batch: "run-" + batchName(name, sum[:]), source: f, file: f, packing: callsfile.PackingOf(name)}
	return in.checked()
}

// Spool copies a stream of calls, one JSON object per line, to a temporary file, because
// it is read more than once. The content is the identity of the input. name is for
// messages; "-" means standard input.
func Spool(name string, from io.Reader) (*Input, error) {
	f, err := os.CreateTemp("", "callq-*.jsonl")
	if err != nil {
		return nil, err
	}
	in := &Input{name: name, source: f, file: f, spooled: true}
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(f, hash), from); err != nil {
		return nil, errors.Join(inputError(ProblemCalls, "%s: %w", name, err), in.Close())
	}
	in.batch = "run-" + batchName(name, hash.Sum(nil))
	return in.checked()
}

// Calls makes an input from a list. The name is its identity, as the path is for a file: a
// later run of a list with the same name continues with the calls of this one, and makes
// the calls that are new or changed.
func Calls(name string, calls ...tasks.Call) (*Input, error) {
	var text []byte
	for _, c := range calls {
		line, err := tasks.AppendCall(text, c)
		if err != nil {
			return nil, inputError(ProblemCalls, "%s: %w", name, err)
		}
		text = append(line, '\n')
	}
	sum := sha256.Sum256([]byte("list " + name))
	return &Input{name: name, batch: "run-" + batchName(name, sum[:]), source: bytes.NewReader(text)}, nil
}

// Name is the name of the input in messages.
func (in *Input) Name() string { return in.name }

// Batch is the name of the batch in Redis for a run of the input. Calls whose lines were
// changed since a previous run go to its successors, NAME.2 and so on.
func (in *Input) Batch() string { return in.batch }

// Spooled reports whether the input is a copy of a stream.
func (in *Input) Spooled() bool { return in.spooled }

// ContentName makes the name of a batch from the name and content of the input. The same
// content always has the same batch; changed content has another one.
func (in *Input) ContentName() (string, error) {
	r, err := in.Open()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, r); err != nil {
		return "", err
	}
	return batchName(in.name, sum.Sum(nil)), nil
}

// maxBatchStem limits a part of the name of a batch, in bytes, so that
// [tasks.CheckBatch] accepts the name.
const maxBatchStem = 150

// batchName makes the name of a batch from the path of a file and a digest: the name of
// the file without its extension, with "-" for characters that a batch name must not
// have, and the first 8 hex digits of the digest.
func batchName(path string, digest []byte) string {
	if path == "-" {
		path = "stdin"
	}
	stem := filepath.Base(path)
	stem = strings.TrimSuffix(stem, filepath.Ext(stem))
	stem = strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("._-", r) {
			return r
		}
		return '-'
	}, strings.ToValidUTF8(stem, "-"))
	if len(stem) > maxBatchStem {
		stem = strings.ToValidUTF8(stem[:maxBatchStem], "")
	}
	if stem == "" {
		stem = "calls"
	}
	return stem + "-" + hex.EncodeToString(digest[:4])
}

// checked returns the input, or an error that describes a file that is not a file of
// calls.
func (in *Input) checked() (*Input, error) {
	if err := in.check(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return in, nil
}

func (in *Input) check() error {
	if _, err := in.source.Seek(0, io.SeekStart); err != nil {
		return err
	}
	head, whole, err := callsfile.Head(in.source)
	if err != nil {
		return inputError(ProblemCalls, "%s: %w", in.name, fileerror.WithoutPath(err))
	}
	if in.packing != "" {
		if found := callsfile.Mispacked(in.name, head); found != nil {
			return inputError(ProblemCalls, "%s", found.In(in.name))
		}
		r, err := in.open()
		if err != nil {
			return err
		}
		// Damage further on is an error for the reader of the input.
		if head, whole, err = callsfile.Head(r); err != nil && len(bytes.TrimSpace(head)) == 0 {
			return inputError(ProblemCalls, "%s: %w", in.name, fileerror.WithoutPath(err))
		}
	}
	if found := callsfile.Detect(head, whole); found != nil {
		return inputError(ProblemCalls, "%s", found.In(in.name))
	}
	return nil
}

// Verify reads a compressed input to its end, so that no call is sent from an input that
// cannot be read completely.
func (in *Input) Verify() error {
	if in.packing == "" {
		return nil
	}
	r, err := in.Open()
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return err
}

// Open returns the decompressed input from its beginning. A reader from an earlier call
// must no longer be used. Read errors are [InputError]s.
func (in *Input) Open() (io.Reader, error) {
	r, err := in.open()
	if err != nil {
		return nil, inputError(ProblemCalls, "%w", err)
	}
	return &inputReader{name: in.name, r: r}, nil
}

func (in *Input) open() (io.Reader, error) {
	if _, err := in.source.Seek(0, io.SeekStart); err != nil || in.packing == "" {
		return in.source, err
	}
	if err := in.closeUnpacked(); err != nil {
		return nil, err
	}
	r, err := callsfile.Unpack(in.source, in.packing)
	if err != nil {
		return nil, err
	}
	in.unpacked = r
	return r, nil
}

func (in *Input) closeUnpacked() error {
	if in.unpacked == nil {
		return nil
	}
	err := in.unpacked.Close()
	in.unpacked = nil
	return err
}

// Close closes the file, and removes it if it is a temporary copy.
func (in *Input) Close() error {
	err := in.closeUnpacked()
	if in.file == nil {
		return err
	}
	err = errors.Join(err, in.file.Close())
	if in.spooled {
		err = errors.Join(err, os.Remove(in.file.Name()))
	}
	return err
}

// inputReader turns read errors into [InputError]s, so that they can be distinguished
// from other errors of the caller.
type inputReader struct {
	name string
	r    io.Reader
}

// Read implements [io.Reader].
func (r *inputReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = inputError(ProblemCalls, "%s: %w", r.name, fileerror.WithoutPath(err))
	}
	return n, err
}
