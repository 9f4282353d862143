package filerun

import (
	"crypto/sha256"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/tasks"
)

func TestABatchIsNamedAfterTheFileAndItsContent(t *testing.T) {
	sum := sha256.Sum256([]byte("content"))
	for path, want := range map[string]string{
		"calls.jsonl":          "calls-ed7002b4",
		"/data/my calls.jsonl": "my-calls-ed7002b4",
		"a{b}c.json":           "a-b-c-ed7002b4",
		".jsonl":               "calls-ed7002b4",
		"Über_1.2.jsonl":       "Über_1.2-ed7002b4",
		"\xff\n.jsonl":         "---ed7002b4",
	} {
		if got := batchName(path, sum[:]); got != want {
			t.Errorf("batchName(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestEveryFileNameGivesAValidBatchName(t *testing.T) {
	sum := sha256.Sum256(nil)
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.String().Draw(t, "path")
		if name := batchName(strings.Repeat(path, rapid.IntRange(1, 50).Draw(t, "times")), sum[:]); tasks.CheckBatch(name) != nil {
			t.Fatalf("%q: %v", name, tasks.CheckBatch(name))
		}
	})
}

// broken returns an error instead of io.EOF.
type broken struct{ *strings.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		err = errors.New("input/output error")
	}
	return n, err
}

func TestAReadErrorIsAnInputError(t *testing.T) {
	in := &Input{name: "calls.jsonl", source: broken{strings.NewReader("{}\n")}}
	r, err := in.Open()
	if err != nil {
		t.Fatal(err)
	}
	var input *InputError
	if _, err := io.ReadAll(r); !errors.As(err, &input) || input.Problem != ProblemCalls || input.Error() != "calls.jsonl: input/output error" {
		t.Errorf("got %v", err)
	}
}
