package filerun

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
)

// fillingDisk accepts left more bytes, then returns ENOSPC.
type fillingDisk struct {
	io.Writer
	left int
}

func (d *fillingDisk) Write(b []byte) (int, error) {
	n, err := d.Writer.Write(b[:min(d.left, len(b))])
	if d.left -= n; err == nil && n < len(b) {
		err = syscall.ENOSPC
	}
	return n, err
}

func TestAFullDiskLeavesCompleteLinesAndTheOthersAreWrittenLater(t *testing.T) {
	t.Parallel()
	line := func(key string) tasks.Result {
		return tasks.Result{Key: key, State: tasks.StateDone, Body: []byte(`"` + strings.Repeat(key, 40) + `"`)}
	}
	var lines []string
	for _, key := range []string{"a", "b", "c"} {
		text, err := tasks.EncodeResult(nil, line(key))
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, string(text))
	}
	all := strings.Join(lines, "")
	for room := range len(all) {
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		disk := &fillingDisk{f, room}
		out := &resultsFile{name: f.Name(), file: f, to: disk}
		for _, key := range []string{"a", "b", "c"} {
			if err := out.add(line(key)); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.flush(); !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("with room for %d bytes: %v", room, err)
		}
		text, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if whole := all[:strings.LastIndexByte(all[:room], '\n')+1]; string(text) != whole {
			t.Fatalf("with room for %d bytes the file holds %q, want %q", room, text, whole)
		}
		disk.left = len(all)
		if err := out.flush(); err != nil {
			t.Fatal(err)
		}
		if text, err = os.ReadFile(f.Name()); err != nil || string(text) != all {
			t.Fatalf("with room for %d bytes, and then for all, the file holds %q: %v", room, text, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A pipe stands for a file that cannot be synced.
func TestBodiesAreNotFreedBeforeTheResultsFileIsSynced(t *testing.T) {
	t.Parallel()
	from, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	r := &runner{out: &resultsFile{name: "out", file: to, to: to}, exported: make([]exported, 1)}
	if err := r.out.add(tasks.Result{Key: "a", State: tasks.StateDone}); err != nil {
		t.Fatal(err)
	}
	var refused *StorageError
	if err := r.sync(t.Context()); !errors.As(err, &refused) {
		t.Errorf("got %v, want a StorageError", err)
	}
	if len(r.exported) != 1 {
		t.Error("the body was freed")
	}
	if err := r.out.close(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(from); err != nil || !strings.Contains(string(text), `"key":"a"`) {
		t.Errorf("got %q written: %v", text, err)
	}
}
