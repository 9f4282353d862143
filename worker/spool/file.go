package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// File is a body in a file that nobody else can open: it is its owner's alone, has no
// name any more, and is gone when its process is. It is not safe for concurrent use.
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

// Size is the length of the body in bytes; that of nil is 0.
func (f *File) Size() int64 {
	if f == nil {
		return 0
	}
	return f.size
}

// Write adds to the body. After an error the body is what it was.
func (f *File) Write(b []byte) (int, error) {
	if _, err := f.file.WriteAt(b, f.size); err != nil {
		return 0, err
	}
	f.size += int64(len(b))
	return len(b), nil
}

// Replace puts another body in the place of this one.
func (f *File) Replace(b []byte) error {
	if err := f.file.Truncate(0); err != nil {
		return err
	}
	f.size = 0
	_, err := f.Write(b)
	return err
}

// Bytes returns the whole body, with room for more bytes behind it.
func (f *File) Bytes(more int) ([]byte, error) {
	b := make([]byte, f.size, f.size+int64(more))
	if _, err := io.ReadFull(io.NewSectionReader(f.file, 0, f.size), b); err != nil {
		return nil, fmt.Errorf("read a body back from its temporary file: %w", err)
	}
	return b, nil
}

// Tail reads the end of the body into b, which stays as it is where the body is shorter.
func (f *File) Tail(b []byte) {
	if from := f.size - int64(len(b)); from >= 0 {
		_, _ = f.file.ReadAt(b, from) // it is a hint
	}
}

// Close frees what the body takes; that of nil does nothing, and so does a second one.
func (f *File) Close() {
	if f != nil && f.file != nil {
		_ = f.file.Close() // nothing of it is wanted any more
		f.file = nil
	}
}

// Read reads from r to its end: into memory, or into a file where it is a large body.
// expected is how many bytes will come, as far as that is known. Where no file can be
// written, as on a full disk, the body is in memory however large it is: an answer that
// has come is not thrown away. err is r's; what came before it is returned too.
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

// toMemory goes on in memory where no more can be written: piece was read last, with
// the error err.
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
