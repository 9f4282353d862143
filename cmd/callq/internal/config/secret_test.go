package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/cmd/callq/internal/config"
)

// token loads a configuration in dir whose token is text, and returns it.
func token(t *testing.T, dir, text string, environment func(string) string) config.Secret {
	t.Helper()
	file := fmt.Sprintf("upstreams: {a: {base_url: https://a.example, policy: http, auth: {type: bearer, token: %q}}}", text)
	cfg, err := config.Parse(filepath.Join(dir, "callq.yaml"), []byte(file), config.Source{Env: environment})
	if err != nil {
		t.Fatal(err)
	}
	return cfg.Upstreams[0].Auth.Token
}

func TestASecretIsReadFromTextTheEnvironmentAndFiles(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"lf": "from file\n", "crlf": "from file\r\n", "none": "from file", "two": "from file\n\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		text string
		kind config.Kind
		want string
		show string
	}{
		{"sk-1", config.Literal, "sk-1", "(hidden)"},
		{"${env:KEY}", config.Env, "from env", "${env:KEY}"},
		{"${file:lf}", config.File, "from file", "${file:lf}"},
		{"${file:crlf}", config.File, "from file", "${file:crlf}"},
		{"${file:none}", config.File, "from file", "${file:none}"},
		{"${file:two}", config.File, "from file\n", "${file:two}"},
		{"${file:" + dir + "/lf}", config.File, "from file", "${file:" + dir + "/lf}"},
		{"a ${env:KEY}, ${file:lf} z", config.File, "a from env, from file z", "(hidden)${env:KEY}(hidden)${file:lf}(hidden)"},
		{"$${env:KEY}", config.Literal, "${env:KEY}", "(hidden)"},
		{"a$b", config.Literal, "a$b", "(hidden)"},
	} {
		secret := token(t, dir, tc.text, env("KEY", "from env"))
		got, err := secret.Read()
		if err != nil || got != tc.want || secret.Kind() != tc.kind || secret.String() != tc.show {
			t.Errorf("%s: got %q, %s, %s, %v", tc.text, got, secret.Kind(), secret, err)
		}
		if files := secret.Files(); (len(files) == 1) != (tc.kind == config.File) {
			t.Errorf("%s: files %v", tc.text, files)
		}
	}
}

func TestAChangedFileIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "key")
	secret := token(t, dir, "${file:key}", nil)
	for _, want := range []string{"first", "second"} {
		if err := os.WriteFile(path, []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := secret.Read(); err != nil || got != want {
			t.Errorf("got %q, %v; want %q", got, err, want)
		}
	}
}

func TestTheErrorForASecretFileSaysWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "\n", "large": strings.Repeat("x", 1<<16+1)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"nowhere": "cannot be read: no such file or directory",
		"empty":   "is empty; write the value into it",
		"large":   "is larger than 64 KiB",
		".":       "cannot be read completely",
	} {
		_, err := token(t, dir, "${file:"+name+"}", nil).Read()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "callq.yaml:1:") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestASecretIsNeverShown(t *testing.T) {
	secret := token(t, t.TempDir(), "hunter2", nil)
	type holder struct {
		Exported   config.Secret
		unexported config.Secret
	}
	h := holder{secret, secret}
	var out bytes.Buffer
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, format+"\n", secret)
		fmt.Fprintf(&out, format+"\n", h)
		fmt.Fprintf(&out, format+"\n", &h)
	}
	if err := json.NewEncoder(&out).Encode(h); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "secret", secret, "holder", h)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "secret", secret, "holder", h)
	text := out.String()
	if strings.Contains(text, "hunter2") || strings.Contains(text, fmt.Sprintf("%x", "hunter2")) {
		t.Error(text)
	}
}

func TestTheZeroSecretIsAbsent(t *testing.T) {
	var secret config.Secret
	value, err := secret.Read()
	if !secret.IsZero() || value != "" || err != nil || secret.String() != "" || secret.Files() != nil || secret.Kind() != config.Literal {
		t.Errorf("got %q, %v, %s", value, err, secret)
	}
}

func TestThePartsOfASecretAreInOrder(t *testing.T) {
	var got []string
	note := func(what string) func(string) {
		return func(text string) { got = append(got, what+"="+text) }
	}
	token(t, "/etc/callq", "a ${env:KEY}${file:b}", nil).Parts(note("literal"), note("env"), note("file"))
	if want := "literal=a ,env=KEY,file=/etc/callq/b"; strings.Join(got, ",") != want {
		t.Errorf("got %q, want %s", got, want)
	}
}
