package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// File is a body in a temporary file. The file's mode is 0600, and its name is removed at
// once: no other process can open it, and it is deleted when this process ends. A File is
// not safe for concurrent use.
type File struct {
	file *os.File
	size int64
}

// NewFile returns an empty file in the system's folder for temporary files.
func NewFile() (*File, error) {
	f, err := os.CreateTemp("", "callq-body-*") // with mode 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{file: f}, nil
}

// Size returns the length of the body in bytes; 0 for a nil File.
func (f *File) Size() int64 {
	if f == nil {
		return 0
	}
	return f.size
}

// Write appends to the body. After an error the body is unchanged.
func (f *File) Write(b []byte) (int, error) {
	if _, err := f.file.WriteAt(b, f.size); err != nil {
		return 0, err
	}
	f.size += int64(len(b))
	return len(b), nil
}

// Replace replaces the body by another one.
func (f *File) Replace(b []byte) error {
	if err := f.file.Truncate(0); err != nil {
		return err
	}
	f.size = 0
	_, err := f.Write(b)
	return err
}

// Bytes returns the whole body, in a slice with capacity for more bytes.
func (f *File) Bytes(more int) ([]byte, error) {
	b := make([]byte, f.size, f.size+int64(more))
	if _, err := io.ReadFull(io.NewSectionReader(f.file, 0, f.size), b); err != nil {
		return nil, fmt.Errorf("read a body back from its temporary file: %w", err)
	}
	return b, nil
}

// Tail reads the end of the body into b. If the body is shorter than b, it does nothing.
func (f *File) Tail(b []byte) {
	if from := f.size - int64(len(b)); from >= 0 {
		_, _ = f.file.ReadAt(b, from) // the caller uses it as a hint only
	}
}

// Close deletes the body. It does nothing for a nil File and when called again.
func (f *File) Close() {
	if f != nil && f.file != nil {
		_ = f.file.Close() // the body is not needed any more
		f.file = nil
	}
}

// Read reads r to its end: into memory, or into a file if the body is large. expected is
// how many bytes will come, if that is known. If no file can be written, as on a full
// disk, even a large body is read into memory, so that an answer is not lost. err is r's
// error; the bytes before it are returned too.
func Read(r io.Reader, expected int64) (b []byte, f *File, err error) {
	room := int64(minRead)
	if expected > 0 {
		room = min(expected+1, Large+1)
	}
	b = make([]byte, 0, room)
	for len(b) < cap(b) || len(b) <= Large {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):min(cap(b), len(b)+maxRead)])
		b = b[:len(b)+n]
		if errors.Is(err, io.EOF) {
			return b, nil, nil
		}
		if err != nil {
			return b, nil, err
		}
		if len(b) > Large {
			break
		}
	}
	if f, err = NewFile(); err != nil {
		return inMemory(b, r)
	}
	if _, err := f.Write(b); err != nil {
		f.Close()
		return inMemory(b, r)
	}
	piece := b[:min(cap(b), maxRead)]
	for {
		n, err := r.Read(piece)
		if n > 0 {
			if _, wrong := f.Write(piece[:n]); wrong != nil {
				return f.toMemory(piece[:n], r, err)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil, f, nil
		}
		if err != nil {
			return nil, f, err
		}
	}
}

const (
	minRead = 512
	maxRead = 64 << 10
)

// toMemory continues in memory after a failed write: piece was read last, with the error
// err.
func (f *File) toMemory(piece []byte, r io.Reader, err error) ([]byte, *File, error) {
	defer f.Close()
	b, wrong := f.Bytes(len(piece))
	if wrong != nil {
		return nil, nil, wrong
	}
	b = append(b, piece...)
	if errors.Is(err, io.EOF) {
		return b, nil, nil
	}
	if err != nil {
		return b, nil, err
	}
	return inMemory(b, r)
}

func inMemory(b []byte, r io.Reader) ([]byte, *File, error) {
	rest, err := io.ReadAll(r)
	return append(b, rest...), nil, err
}
