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

// replaced is the name of the file that keeps the results that were replaced.
func (r *resultsFile) replaced() string { return r.name + ".old.jsonl" }

// replace moves the results with the given ordinals to the file of replaced ones.
// They are safe there before the results file, of which the other lines stay as
// they are, is replaced by one without them: at every moment each result is in one
// of the two.
func (r *resultsFile) replace(gone []int, now baseurl.Set) (err error) {
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
	moved := &summed{sum: sha256.New()}
	if err := r.divide(gone, now, fresh, moved); err != nil {
		return err
	}
	if len(gone) > 0 {
		if err := r.keep(gone, moved); err != nil {
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
	_ = atomicfile.SyncDir(dir) // not every file system can; then its order of writing is all there is
	return old.Close()
}

// keep adds the results with the given ordinals to the file of replaced ones, unless
// a run that was killed in the midst of this has done so.
func (r *resultsFile) keep(gone []int, moved *summed) error {
	return r.addReplaced(func(f *os.File, size int64) error {
		if there, err := moved.endsAt(f, size); err != nil || there {
			return err
		}
		if _, err := f.Seek(size, io.SeekStart); err != nil {
			return err
		}
		return r.divide(gone, nil, io.Discard, f)
	})
}

// keepLine adds a result to the file of replaced ones.
func (r *resultsFile) keepLine(line []byte) error {
	return r.addReplaced(func(f *os.File, size int64) error {
		_, err := f.WriteAt(line, size)
		return err
	})
}

// addReplaced opens the file of replaced results, has add write behind its whole lines,
// of which there are size bytes, and makes the file safe on its disk.
func (r *resultsFile) addReplaced(add func(f *os.File, size int64) error) (err error) {
	f, err := os.OpenFile(r.replaced(), os.O_RDWR|os.O_CREATE, ownerOnly)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := wholeLines(f)
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

// divide copies the lines with the given ordinals to one place and the others to
// another, to the byte; but with now, those that are kept get the base URLs of now.
func (r *resultsFile) divide(gone []int, now baseurl.Set, kept, moved io.Writer) error {
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
			if n++; len(gone) > 0 && gone[0] == n {
				gone, to = gone[1:], leave
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

// summed is what was written to it, as its length and its checksum.
type summed struct {
	sum  hash.Hash
	size int64
}

// Write adds to it.
func (s *summed) Write(b []byte) (int, error) {
	s.size += int64(len(b))
	return s.sum.Write(b)
}

// endsAt reports whether the file has the same bytes before the given offset.
func (s *summed) endsAt(f io.ReaderAt, end int64) (bool, error) {
	if s.size > end {
		return false, nil
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(f, end-s.size, s.size)); err != nil {
		return false, err
	}
	return bytes.Equal(sum.Sum(nil), s.sum.Sum(nil)), nil
}

// wholeLines repairs the end of a file of lines, and returns its length: what a
// killed process has left of a line goes, and a line that lacks only its end gets it.
func wholeLines(f *os.File) (int64, error) {
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
