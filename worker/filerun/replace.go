package filerun

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"

	"github.com/seed-2903acc3/callq/internal/atomicfile"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// replaced is the name of the file with the replaced results.
func (r *resultsFile) replaced() string { return r.name + ".old.jsonl" }

// replace moves the results with the given numbers to the file of replaced results. It
// syncs them there before it replaces the results file by one with the other lines,
// unchanged. So each result is in one of the two files at every moment.
func (r *resultsFile) replace(outdated []int, now baseurl.Set) (err error) {
	info, err := r.file.Stat()
	if err != nil {
		return err
	}
	dir := filepath.Dir(r.name)
	fresh, err := os.CreateTemp(dir, ".callq-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, fresh.Close(), os.Remove(fresh.Name()))
		}
	}()
	if err := lockFile(fresh); err != nil {
		return err
	}
	moved := &checksum{sum: sha256.New()}
	if err := r.split(outdated, now, fresh, moved); err != nil {
		return err
	}
	if len(outdated) > 0 {
		if err := r.saveReplaced(outdated, moved); err != nil {
			return err
		}
	}
	if err := fresh.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	if err := fresh.Sync(); err != nil {
		return err
	}
	if err := os.Rename(fresh.Name(), r.name); err != nil {
		return err
	}
	old := r.file
	r.file, r.to = fresh, fresh
	_ = atomicfile.SyncDir(dir) // some file systems cannot; then only their order of writes protects the results
	return old.Close()
}

// saveReplaced adds the results with the given numbers to the file of replaced results,
// unless a previous run has added them before it was killed.
func (r *resultsFile) saveReplaced(outdated []int, moved *checksum) error {
	return r.addReplaced(func(f *os.File, size int64) error {
		if saved, err := moved.endsAt(f, size); err != nil || saved {
			return err
		}
		if _, err := f.Seek(size, io.SeekStart); err != nil {
			return err
		}
		return r.split(outdated, nil, io.Discard, f)
	})
}

// saveReplacedLine adds one result to the file of replaced results.
func (r *resultsFile) saveReplacedLine(line []byte) error {
	return r.addReplaced(func(f *os.File, size int64) error {
		_, err := f.WriteAt(line, size)
		return err
	})
}

// addReplaced opens the file of replaced results, calls add to write after its complete
// lines, which take size bytes, and syncs the file.
func (r *resultsFile) addReplaced(add func(f *os.File, size int64) error) (err error) {
	f, err := os.OpenFile(r.replaced(), os.O_RDWR|os.O_CREATE, ownerOnly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := repairLastLine(f)
	if err == nil {
		err = add(f, size)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		_ = atomicfile.SyncDir(filepath.Dir(r.name)) // see replace
	}
	return err
}

// split copies the lines with the given numbers to moved and the others to kept,
// unchanged. But if now is not nil, the kept lines get the base URLs of now.
func (r *resultsFile) split(outdated []int, now baseurl.Set, kept, moved io.Writer) error {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in, stay, leave := bufio.NewReaderSize(r.file, 1<<16), bufio.NewWriterSize(kept, 1<<16), bufio.NewWriterSize(moved, 1<<16)
	for n := 0; ; {
		line, err := in.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if len(bytes.TrimSpace(bytes.TrimPrefix(line, []byte("\xef\xbb\xbf")))) > 0 {
			to := stay
			if n++; len(outdated) > 0 && outdated[0] == n {
				outdated, to = outdated[1:], leave
			} else if now != nil {
				line = now.Rewrite(line)
			}
			if _, err := to.Write(line); err != nil {
				return err
			}
		}
		if err != nil {
			return errors.Join(stay.Flush(), leave.Flush())
		}
	}
}

// checksum is a writer that computes the length and the SHA-256 of what is written.
type checksum struct {
	sum  hash.Hash
	size int64
}

// Write implements [io.Writer].
func (s *checksum) Write(b []byte) (int, error) {
	s.size += int64(len(b))
	return s.sum.Write(b)
}

// endsAt reports whether the file has the same bytes before the given offset.
func (s *checksum) endsAt(f io.ReaderAt, end int64) (bool, error) {
	if s.size > end {
		return false, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, end-s.size, s.size)); err != nil {
		return false, err
	}
	return bytes.Equal(sum.Sum(nil), s.sum.Sum(nil)), nil
}

// repairLastLine repairs the end of a file of JSON lines, and returns its length. It cuts
// off an incomplete line that a killed process has written. If only the newline is missing,
// it adds the newline.
func repairLastLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	end := info.Size()
	var last []byte
	for at := end; at > 0; {
		n := min(at, 64<<10)
		part := make([]byte, n)
		if _, err := f.ReadAt(part, at-n); err != nil {
			return 0, err
		}
		at -= n
		if cut := bytes.LastIndexByte(part, '\n'); cut >= 0 {
			last = append(part[cut+1:], last...)
			break
		}
		last = append(part, last...)
	}
	if len(last) == 0 {
		return end, nil
	}
	if json.Valid(last) {
		_, err := f.WriteAt([]byte("\n"), end)
		return end + 1, err
	}
	whole := end - int64(len(last))
	return whole, f.Truncate(whole)
}
