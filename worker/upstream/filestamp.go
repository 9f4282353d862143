package upstream

import (
	"os"
	"time"
)

// fileTimeStep is the coarsest resolution of file times: 10 ms is common, FAT has 2 s.
// Two writes within one step may leave the same modification time.
const fileTimeStep = 2 * time.Second

// fileStamp identifies a version of a file, so that a change is detected without reading
// the file. The zero value matches no file.
type fileStamp struct {
	info os.FileInfo
	// reliable is false if the file was written less than fileTimeStep ago: a second
	// write might not change its time.
	reliable bool
}

// stampOf returns the stamp of the file at path. It follows links. Call it before the
// file is read: then a write in between is detected the next time.
func stampOf(path string) (fileStamp, error) {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}, err
	}
	return fileStamp{info: info, reliable: time.Since(info.ModTime()) > fileTimeStep}, nil
}

// unchanged reports whether the file has not changed between the stamps m and now. If
// another file was renamed to the path, or a link was changed, the file has changed even if
// time and size are the same.
func (m fileStamp) unchanged(now fileStamp) bool {
	return m.info != nil && m.reliable && os.SameFile(m.info, now.info) &&
		m.info.ModTime().Equal(now.info.ModTime()) && m.info.Size() == now.info.Size()
}
