package atomicfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/seed-2903acc3/callq/internal/atomicfile"
)

func TestAFileIsReplacedOnlyByCommit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	want := func(content string) {
		t.Helper()
		if got, err := os.ReadFile(path); err != nil || string(got) != content {
			t.Errorf("got %q, %v, want %q", got, err, content)
		}
		if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) > 2 {
			t.Errorf("got the files %v, %v", files, err)
		}
	}
	if err := atomicfile.Write(path, []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{false, true} {
		f, err := atomicfile.Create(path, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString("new"); err != nil {
			t.Fatal(err)
		}
		want("old")
		if !commit {
			f.Discard()
			want("old")
			continue
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		want("new")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("got the mode %v, %v, want 0600", info.Mode(), err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("got the files %v, %v, want no temporary file", files, err)
	}
}

func TestTheErrorOfCreateNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing", "file")
	var named *fs.PathError
	if _, err := atomicfile.Create(path, 0o600); !errors.As(err, &named) || named.Path != path || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
