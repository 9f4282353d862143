package upstream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hidden = "sk-very-secret-0123"

func TestASecretIsPrintedAsRedacted(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	writeFile(t, file, hidden+"\n")
	t.Setenv("CALLQ_TEST_SECRET", hidden)
	for _, s := range []Secret{
		StaticSecret(hidden), FileSecret(file), EnvSecret("CALLQ_TEST_SECRET"), ConcatSecrets(StaticSecret(hidden[:5]), StaticSecret(hidden[5:])),
	} {
		if v, err := s.Value(); v != hidden || err != nil {
			t.Fatalf("value %q, %v", v, err)
		}
		type holder struct {
			Shown  Secret
			hidden Secret
		}
		h := holder{s, s}
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&out, verb+verb+verb+"\n", s, h, &h)
		}
		j, err := json.Marshal(map[string]any{"secret": s, "auth": Bearer(s)})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(j)
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("x", "secret", s, "holder", h, "config", Config{Auth: Bearer(s)})
		}
		if !strings.Contains(string(j), redacted) || strings.Contains(out.String(), "very-secret") ||
			strings.Contains(out.String(), fmt.Sprintf("%x", hidden)) {
			t.Errorf("printed:\n%s", &out)
		}
	}
}

func TestAFileSecretIsReadAgainWhenItChanges(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	s := FileSecret(file)
	if _, err := s.Value(); err == nil {
		t.Fatal("no error without a file")
	}
	for _, step := range []struct{ content, want string }{
		{"one\n", "one"}, {"three\n", "three"}, {"two\r\n", "two"}, {"\ufeffbom\n", "bom"}, {"a\n\n", "a\n"}, {" b c ", " b c "},
		// During a rotation the last value stays in use.
		{"", " b c "}, {"\n", " b c "}, {strings.Repeat("x", maxSecretFile+1), " b c "}, {"last", "last"},
	} {
		writeFile(t, file, step.content)
		if got, err := s.Value(); got != step.want || err != nil {
			t.Errorf("%.20q gave %q, %v; want %q", step.content, got, err, step.want)
		}
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Value(); got != "last" || err != nil {
		t.Errorf("without its file: %q, %v", got, err)
	}
}

func TestAFileWithTheSameTimeAndSizeIsReadAgainAfterARefusal(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	at := time.Unix(1_700_000_000, 0)
	put := func(content string) {
		writeFile(t, file, content)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}
	put("old")
	s := FileSecret(file)
	s.Value()
	put("new")
	if got, _ := s.Value(); got != "old" {
		t.Errorf("got %q, want the old value: the file seems unchanged", got)
	}
	if got, _ := s.read(readOptions{fresh: true}); got != "new" {
		t.Errorf("got %q", got)
	}
}

func TestTheErrorForAMissingSecretContainsNoValue(t *testing.T) {
	for _, s := range []Secret{{}, EnvSecret("CALLQ_TEST_UNSET"), ConcatSecrets(StaticSecret(hidden), EnvSecret("CALLQ_TEST_UNSET"))} {
		if v, err := s.Value(); err == nil || v != "" || strings.Contains(err.Error(), hidden) {
			t.Errorf("%q, %v", v, err)
		}
	}
}

// writeFile writes a file with a later modification time than before.
func writeFile(t *testing.T, path, content string) {
	t.Helper()
	before, statErr := os.Stat(path)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if statErr == nil {
		next := before.ModTime().Add(time.Second)
		if err := os.Chtimes(path, next, next); err != nil {
			t.Fatal(err)
		}
	}
}
