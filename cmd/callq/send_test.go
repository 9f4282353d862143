package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/filerun"
)

func TestParametersAreReadFromTheCommandLine(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "null"},
		{[]string{"q=solar cell"}, `{"q":"solar cell"}`},
		{[]string{"q=a=b", "empty="}, `{"empty":"","q":"a=b"}`},
		{[]string{"n=1", "m=x", "n=2", "n=3"}, `{"m":"x","n":["1","2","3"]}`},
	} {
		query, err := parameters(c.args)
		if got, _ := json.Marshal(query); err != nil || string(got) != c.want {
			t.Errorf("parameters(%q) = %s, %v; want %s", c.args, got, err, c.want)
		}
	}
	for _, bad := range []string{"q", "=v", ""} {
		if _, err := parameters([]string{bad}); statusOf(err) != exitUsage {
			t.Errorf("parameters(%q): %v", bad, err)
		}
	}
}

// broken ends with an error where a file would have its end.
type broken struct{ text *strings.Reader }

func (b broken) Read(p []byte) (int, error) {
	n, err := b.text.Read(p)
	if err != nil {
		err = &filerun.InputError{Problem: filerun.ProblemCalls, Err: errors.New("calls.jsonl: input/output error")}
	}
	return n, err
}

func TestAFileThatCannotBeReadToItsEndIsAUsageError(t *testing.T) {
	r := broken{strings.NewReader("{\"path\":\"/a\"}\n")}
	_, err := countDryRun(t.Context(), tasks.ReadCalls(r, tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "sim"}}}}), func(*tasks.FieldError) {})
	if err = inputError(err); statusOf(err) != exitUsage || err.Error() != "calls.jsonl: input/output error" {
		t.Errorf("got %v", err)
	}
}

func TestADryRunOfALongFileCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	lines := 0
	endless := func(yield func(tasks.Line, error) bool) {
		for {
			lines++
			if lines == 10 {
				cancel()
			}
			if !yield(tasks.Line{Number: lines, Call: tasks.Call{Path: "/a", Key: fmt.Sprint(lines)}}, nil) {
				return
			}
		}
	}
	if s, err := countDryRun(ctx, endless, nil); !errors.Is(err, context.Canceled) || s.Accepted != 9 {
		t.Errorf("got %+v, %v", s, err)
	}
}

func TestAListOfAnyLengthIsOneJSONArray(t *testing.T) {
	for n := range 4 {
		var out strings.Builder
		list := jsonList{w: &out}
		for i := range n {
			if err := list.add(i); err != nil {
				t.Fatal(err)
			}
		}
		if err := list.end(); err != nil {
			t.Fatal(err)
		}
		var got []int
		if err := json.Unmarshal([]byte(out.String()), &got); err != nil || len(got) != n || got == nil {
			t.Errorf("%d elements: %q, %v", n, out.String(), err)
		}
	}
}
