package upstream

import (
	"os"
	"time"
)

// markAge is how long after its last change a file may still be changed without
// its time telling, since file systems keep times in steps: 10 ms are common, FAT
// has 2 s.
const markAge = 2 * time.Second

// fileMark tells whether a file is still the one that was read, without reading
// it. The zero value is that of a file which was never read.
type fileMark struct {
	info os.FileInfo
	// sure is false where the file was read so soon after it was written that its
	// time says nothing about a second write.
	sure bool
}

// markOf looks at the file at path, following links. Take the mark before the
// file is read: what is written in between is then seen the next time.
func markOf(path string) (fileMark, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileMark{}, err
	}
	return fileMark{info: info, sure: time.Since(info.ModTime()) > markAge}, nil
}

// still tells whether now is a mark of what m is a mark of. A file that another
// was renamed to, or that a link was turned to, is another one even where time
// and size are the same.
func (m fileMark) still(now fileMark) bool {
	return m.info != nil && m.sure && os.SameFile(m.info, now.info) &&
		m.info.ModTime().Equal(now.info.ModTime()) && m.info.Size() == now.info.Size()
}
