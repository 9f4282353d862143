package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

func TestAnyFileNameMakesAValidBatchName(t *testing.T) {
	sum := sha256.Sum256(nil)
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.String().Draw(t, "path")
		if name := batchName(strings.Repeat(path, rapid.IntRange(1, 50).Draw(t, "times")), sum[:]); tasks.CheckBatch(name) != nil {
			t.Fatalf("%q: %v", name, tasks.CheckBatch(name))
		}
	})
}

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
		err = errors.New("input/output error")
	}
	return n, err
}

func TestAFileThatCannotBeReadOnIsMisuse(t *testing.T) {
	r := &reading{name: "calls.jsonl", r: broken{strings.NewReader("{\"path\":\"/a\"}\n")}}
	_, err := rehearse(t.Context(), tasks.ReadCalls(r, tasks.ReadOptions{Rules: tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "sim"}}}}), func(*tasks.FieldError) {})
	if err == nil || statusOf(r.failure()) != exitUsage || !strings.Contains(r.failure().Error(), "calls.jsonl: input/output error") {
		t.Errorf("%v, %v", err, r.failure())
	}
}

func TestADryRunOfALongFileEndsWhenItIsInterrupted(t *testing.T) {
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
	if s, err := rehearse(ctx, endless, nil); !errors.Is(err, context.Canceled) || s.Accepted != 9 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestARateIsReadAsTheTimeBetweenTwo(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"50/s": 20 * time.Millisecond, "1/s": time.Second, "600/m": 100 * time.Millisecond, "3600/h": time.Second,
	} {
		if got, err := parseRate(text); err != nil || got != want {
			t.Errorf("parseRate(%q) = %v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "50", "0/s", "-1/s", "x/s", "1/d", "1/s/s", "1.5/s"} {
		if _, err := parseRate(bad); statusOf(err) != exitUsage {
			t.Errorf("parseRate(%q): %v", bad, err)
		}
	}
}

func TestACodeKeepsItsDigits(t *testing.T) {
	for text, want := range map[code]string{
		"": "null", "67200005": "67200005", "1.50": "1.50", "-1": "-1", "123456789012345678901234567890": "123456789012345678901234567890",
		"E42": `"E42"`, "true": `"true"`, "01": `"01"`, `"`: `"\""`,
	} {
		if got, err := json.Marshal(text); err != nil || string(got) != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
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
