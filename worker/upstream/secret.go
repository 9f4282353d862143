package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// redacted stands wherever a secret would have been printed.
const redacted = redact.Mark

// maxSecretFile is the largest file that is read as a secret, in bytes.
const maxSecretFile = 64 << 10

// Secret is a credential, or a part of one, that is looked up when it is used.
// Printing, logging or encoding it gives "[redacted]". The zero value is no
// secret. A Secret may be copied and used by many goroutines.
type Secret struct {
	// src returns the secret. It is a function because fmt prints the unexported
	// fields of a struct without asking for String, and cannot look into a function.
	src func(look) (string, error)
	// fixed tells that the value was given in the clear, and not by the name of a
	// variable or a file.
	fixed bool
}

// look is how a secret is read.
type look struct {
	// fresh asks to look again even where nothing seems to have changed.
	fresh bool
	// part is called with what each variable or file holds that the secret is made
	// of. It may be nil.
	part func(string)
}

func (l look) learn(part string) (string, error) {
	if l.part != nil {
		l.part(part)
	}
	return part, nil
}

// StaticSecret returns a secret whose value is known already.
func StaticSecret(value string) Secret {
	return Secret{src: func(look) (string, error) { return value, nil }, fixed: true}
}

// EnvSecret returns a secret that is read from the environment variable name.
// Its Value fails while the variable is unset. Nobody can change the environment
// of a running process from outside, so that such a secret is rotated by starting
// the process anew; see FileSecret for one that is not.
func EnvSecret(name string) Secret {
	return Secret{src: func(l look) (string, error) {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return l.learn(v)
	}}
}

// FileSecret returns a secret that is the content of the file at path, without a
// UTF-8 byte order mark at its beginning and without its last newline. Each use looks at the file and reads it again when it has changed
// (its time, its size, or that another file took its place); it is also read when
// the API refused the credential. Once read, a file that is missing or empty
// for a moment, as in a rotation, leaves the last value in force.
func FileSecret(path string) Secret {
	return Secret{src: (&fileSecret{path: path}).value}
}

// ConcatSecrets returns the secret that is the values of parts in a row, for a
// setting such as "Token ${file:key}".
func ConcatSecrets(parts ...Secret) Secret {
	fixed := true
	for _, p := range parts {
		fixed = fixed && p.fixed
	}
	return Secret{fixed: fixed, src: func(l look) (string, error) {
		var b strings.Builder
		for _, p := range parts {
			v, err := p.read(l)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		}
		return b.String(), nil
	}}
}

// IsZero tells whether no secret was given.
func (s Secret) IsZero() bool { return s.src == nil }

// Value returns the secret. Its errors name the source, never the value.
func (s Secret) Value() (string, error) { return s.read(look{}) }

func (s Secret) read(l look) (string, error) {
	if s.src == nil {
		return "", errors.New("no value was given")
	}
	return s.src(l)
}

// reader returns a function that reads s and tells secrets of it: of the whole, as
// it goes onto the wire, and of each part. words are those of [redact.Redactor.Add].
func (s Secret) reader(secrets *redact.Redactor, words ...string) func(fresh bool) (string, error) {
	part := func(v string) { secrets.Add(v, words...) }
	return func(fresh bool) (string, error) {
		v, err := s.read(look{fresh, part})
		if err == nil {
			part(v)
		}
		return v, err
	}
}

// String returns "[redacted]".
func (Secret) String() string { return redacted }

// GoString returns "[redacted]".
func (Secret) GoString() string { return redacted }

// LogValue returns "[redacted]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]"; YAML and others use it.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON returns "[redacted]" as a JSON string.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

type fileSecret struct {
	path string

	mu      sync.Mutex
	known   bool
	content string
	mark    fileMark
}

func (s *fileSecret) value(l look) (string, error) {
	v, err := s.current(l.fresh)
	if err != nil {
		return "", err
	}
	return l.learn(v)
}

func (s *fileSecret) current(fresh bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark, err := markOf(s.path)
	if err == nil && s.known && !fresh && s.mark.still(mark) {
		return s.content, nil
	}
	var content string
	if err == nil {
		content, err = ReadSecretFile(s.path)
	}
	switch {
	case err == nil:
		s.known, s.content, s.mark = true, content, mark
		return content, nil
	case s.known:
		return s.content, nil
	default:
		return "", err
	}
}

// ReadSecretFile returns what the file at path holds, without a UTF-8 byte order mark at
// its beginning and without its last newline, which editors and echo leave there. An
// empty file is an error, and so is one over 64 KiB. It reads the file each time; see
// [FileSecret] for a secret that is read when it changes.
func ReadSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		var inPath *fs.PathError
		if errors.As(err, &inPath) {
			err = inPath.Err
		}
		return "", fmt.Errorf("the file %s cannot be read: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", fmt.Errorf("the file %s cannot be read to its end; is it a regular file?", path)
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("the file %s is larger than 64 KiB; a secret is one short value", path)
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	if len(b) == 0 {
		return "", fmt.Errorf("the file %s is empty; write the value into it", path)
	}
	return string(b), nil
}
