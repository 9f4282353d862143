package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
)

// redacted stands wherever a secret would have been printed.
const redacted = "[redacted]"

// maxSecretFile is the largest file that is read as a secret, in bytes.
const maxSecretFile = 64 << 10

// Secret is a credential, or a part of one, that is looked up when it is used.
// Printing, logging or encoding it gives "[redacted]". The zero value is no
// secret. A Secret may be copied and used by many goroutines.
type Secret struct {
	// src returns the secret; fresh asks to look again even where nothing seems
	// to have changed. It is a function because fmt prints the unexported fields
	// of a struct without asking for String, and cannot look into a function.
	src func(fresh bool) (string, error)
}

// StaticSecret returns a secret whose value is known already.
func StaticSecret(value string) Secret {
	return Secret{src: func(bool) (string, error) { return value, nil }}
}

// EnvSecret returns a secret that is read from the environment variable name.
// Its Value fails while the variable is unset. Nobody can change the environment
// of a running process from outside, so that such a secret is rotated by starting
// the process anew; see FileSecret for one that is not.
func EnvSecret(name string) Secret {
	return Secret{src: func(bool) (string, error) {
		v, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", name)
		}
		return v, nil
	}}
}

// FileSecret returns a secret that is the content of the file at path, less its
// last newline. Each use looks at the file and reads it again when it has changed
// (its time, its size, or that another file took its place); it is also read when
// the API refused the credential. Once read, a file that is missing or empty
// for a moment, as in a rotation, leaves the last value in force.
func FileSecret(path string) Secret {
	return Secret{src: (&fileSecret{path: path}).value}
}

// ConcatSecrets returns the secret that is the values of parts in a row, for a
// setting such as "Token ${file:key}".
func ConcatSecrets(parts ...Secret) Secret {
	return Secret{src: func(fresh bool) (string, error) {
		var b strings.Builder
		for _, p := range parts {
			v, err := p.read(fresh)
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
func (s Secret) Value() (string, error) { return s.read(false) }

func (s Secret) read(fresh bool) (string, error) {
	if s.src == nil {
		return "", errors.New("no value was given")
	}
	return s.src(fresh)
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

func (s *fileSecret) value(fresh bool) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark, err := markOf(s.path)
	if err == nil && s.known && !fresh && s.mark.still(mark) {
		return s.content, nil
	}
	var content string
	if err == nil {
		content, err = readSecretFile(s.path)
	}
	switch {
	case err == nil:
		s.known, s.content, s.mark = true, content, mark
		return content, nil
	case s.known:
		return s.content, nil
	default:
		return "", fmt.Errorf("read the secret: %w", err)
	}
}

func readSecretFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxSecretFile {
		return "", fmt.Errorf("%s is over %d bytes, too large for a secret", path, maxSecretFile)
	}
	b = bytes.TrimSuffix(b, []byte("\n"))
	b = bytes.TrimSuffix(b, []byte("\r"))
	if len(b) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(b), nil
}
