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

// redacted is printed in place of a secret.
const redacted = redact.Mark

// maxSecretFile is the maximum size of a file with a secret, in bytes.
const maxSecretFile = 64 << 10

// Secret is a credential, or a part of one, that is read when it is used.
// Printing, logging or encoding it gives "[redacted]". The zero value is no
// secret. A Secret may be copied and is safe for concurrent use.
type Secret struct {
	// source returns the secret. It is a function because fmt prints the unexported
	// fields of a struct without calling their String method, but it cannot print the
	// result of a function.
	source func(readOptions) (string, error)
	// literal reports that the value was given directly, not by the name of a variable
	// or a file.
	literal bool
}

// readOptions say how to read a secret.
type readOptions struct {
	// fresh means that a file is read even if it seems unchanged.
	fresh bool
	// onPart is called with the content of each variable or file of which the secret is
	// composed. It may be nil.
	onPart func(string)
}

func (o readOptions) report(part string) (string, error) {
	if o.onPart != nil {
		o.onPart(part)
	}
	return part, nil
}

// StaticSecret returns a secret with the given value.
func StaticSecret(value string) Secret {
	return Secret{source: func(readOptions) (string, error) { return value, nil }, literal: true}
}

// EnvSecret returns a secret that is read from the environment variable name.
// Its Value fails while the variable is unset. The environment of a running process
// cannot be changed from outside, so a rotation needs a restart; a FileSecret can be
// rotated without one.
func EnvSecret(name string) Secret {
	return Secret{source: func(o readOptions) (string, error) {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return o.report(v)
	}}
}

// FileSecret returns a secret that is the content of the file at path, without a
// UTF-8 byte order mark at its beginning and without its last newline. Each use checks
// whether the file has changed (its time, its size, or another file at the path) and then
// reads it again. It is also read after the API refused the credential. If the file is
// missing or empty later, as during a rotation, the last value stays in use.
func FileSecret(path string) Secret {
	return Secret{source: (&fileSecret{path: path}).value}
}

// ConcatSecrets returns the secret that consists of the values of parts, in order, for a
// setting such as "Token ${file:key}".
func ConcatSecrets(parts ...Secret) Secret {
	literal := true
	for _, p := range parts {
		literal = literal && p.literal
	}
	return Secret{literal: literal, source: func(o readOptions) (string, error) {
		var b strings.Builder
		for _, p := range parts {
			v, err := p.read(o)
			if err != nil {
				return "", err
			}
			b.WriteString(v)
		}
		return b.String(), nil
	}}
}

// IsZero reports whether s is the zero value.
func (s Secret) IsZero() bool { return s.source == nil }

// Value returns the secret. Its errors name the source, never the value.
func (s Secret) Value() (string, error) { return s.read(readOptions{}) }

func (s Secret) read(o readOptions) (string, error) {
	if s.source == nil {
		return "", errors.New("has no value")
	}
	return s.source(o)
}

// reader returns a function that reads s and adds it to secrets: the whole value and each
// part. words are those of [redact.Redactor.Add].
func (s Secret) reader(secrets *redact.Redactor, words ...string) func(fresh bool) (string, error) {
	add := func(v string) { secrets.Add(v, words...) }
	return func(fresh bool) (string, error) {
		v, err := s.read(readOptions{fresh, add})
		if err == nil {
			add(v)
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

	mu sync.Mutex
	// loaded reports that the file was read at least once.
	loaded  bool
	content string
	stamp   fileStamp
}

func (s *fileSecret) value(o readOptions) (string, error) {
	v, err := s.current(o.fresh)
	if err != nil {
		return "", err
	}
	return o.report(v)
}

func (s *fileSecret) current(fresh bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stamp, err := stampOf(s.path)
	if err == nil && s.loaded && !fresh && s.stamp.unchanged(stamp) {
		return s.content, nil
	}
	var content string
	if err == nil {
		content, err = ReadSecretFile(s.path)
	}
	switch {
	case err == nil:
		s.loaded, s.content, s.stamp = true, content, stamp
		return content, nil
	case s.loaded:
		return s.content, nil
	default:
		return "", err
	}
}

// ReadSecretFile returns the content of the file at path, without a UTF-8 byte order mark
// at its beginning and without its last newline, which editors and echo write. An empty
// file and a file over 64 KiB are errors. ReadSecretFile reads the file each time; a
// [FileSecret] reads it when it has changed.
func ReadSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		var inPath *fs.PathError
		if errors.As(err, &inPath) {
			err = inPath.Err
		}
		return "", fmt.Errorf("the file %s cannot be read: %w; write it, or correct its path or permissions", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", fmt.Errorf("the file %s cannot be read completely; is it a regular file?", path)
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
