package tasks_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"pgregory.net/rapid"
)

// TestIDsAndHashesNeverChange pins values: ids in Redis and digests in results files
// are used across releases.
func TestIDsAndHashesNeverChange(t *testing.T) {
	if got := tasks.TaskID("july", "row-1"); got != pinnedID {
		t.Errorf("TaskID: got %s", got)
	}
	if got := tasks.ContentHash(goldenV1["everything"]); got != pinnedEverything {
		t.Errorf("everything: %s", got)
	}
	if got := tasks.ContentHash(goldenV1["job"]); got != pinnedJob {
		t.Errorf("job: %s", got)
	}
}

func TestIDsOfDifferentBatchesAndKeysDiffer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.String().Draw(t, "a"), rapid.String().Draw(t, "b")
		c, d := rapid.String().Draw(t, "c"), rapid.String().Draw(t, "d")
		one, other := tasks.TaskID(a, b), tasks.TaskID(c, d)
		if len(one) != 32 || (one == other) != (a == c && b == d) {
			t.Fatalf("(%q,%q) %s and (%q,%q) %s", a, b, one, c, d, other)
		}
	})
	if tasks.TaskID("ab", "c") == tasks.TaskID("a", "bc") {
		t.Error(`("ab", "c") and ("a", "bc") have one id`)
	}
}

func TestTheContentHashDependsOnTheRequestAndNotOnItsFormatting(t *testing.T) {
	base := `{"key":"k","upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"}}`
	hash := func(line string) string {
		t.Helper()
		call, err := tasks.ParseCall([]byte(line))
		if err != nil {
			t.Fatal(err)
		}
		return tasks.ContentHash(call)
	}
	for _, same := range []string{
		`{ "body" : { "n" : 1.0, "s" : "x" }, "upstream":"u","method":"post","path":"/s","query":{"c":[1,2],"b":"2","a":1},"headers":{"x-a":" 1 "}}`,
		`{"key":"other","batch":"b","upstream":"u","method":"POST","path":"/s?a=1&b=2&c=1&c=2","headers":{"X-A":"1","Content-Type":"application/json"},"body":{"n":1.0,"s":"x"},"priority":"high","not_before":"2026-01-01T00:00:00Z","deadline":"2027-01-01T00:00:00Z","idempotent":null}`,
	} {
		if hash(same) != hash(base) {
			t.Errorf("another hash: %s", same)
		}
	}
	seen := map[string]string{hash(base): base}
	for _, other := range []string{
		`{"upstream":"v","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"PUT","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/t?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[2,1]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"2"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-B":"1"},"body":{"n":1.0,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.00,"s":"x"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":"{\"n\":1.0,\"s\":\"x\"}"}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":""}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"}}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"},"idempotent":true}`,
		`{"upstream":"u","method":"POST","path":"/s?a=1","query":{"b":2,"c":[1,2]},"headers":{"X-A":"1"},"body":{"n":1.0,"s":"x"},"idempotent":false}`,
	} {
		if before, there := seen[hash(other)]; there {
			t.Errorf("the same hash:\n%s\n%s", before, other)
		}
		seen[hash(other)] = other
	}
}

func TestBytesAndTextWithTheSameTypeAreTheSameRequest(t *testing.T) {
	text := tasks.Call{Path: "/", Body: json.RawMessage(`"hi"`), Headers: map[string]string{"Content-Type": "text/x"}}
	data := tasks.Call{Path: "/", Body: json.RawMessage(`{"base64":"aGk=","content_type":"text/x"}`)}
	if tasks.ContentHash(text) != tasks.ContentHash(data) {
		t.Error("the hashes differ")
	}
}

func ExampleContentHash() {
	a := tasks.Call{Key: "row-1", Upstream: "patsnap", Path: "/search?q=solar"}
	b := tasks.Call{Key: "row-9", Upstream: "patsnap", Path: "/search", Method: "get", Query: tasks.Query{"q": "solar"}, Priority: tasks.PriorityHigh}
	fmt.Println(tasks.ContentHash(a) == tasks.ContentHash(b))
	b.Query["q"] = "wind"
	fmt.Println(tasks.ContentHash(a) == tasks.ContentHash(b))
	// Output:
	// true
	// false
}

func ExampleTaskID() {
	fmt.Println(tasks.TaskID("july", "row-1"))
	// Output: 1c17991fd5ebff0edf13f4e590c90533
}

const (
	pinnedID         = "1c17991fd5ebff0edf13f4e590c90533"
	pinnedEverything = "37d5e8322d7e8b2ab954a3f1d4e11110"
	pinnedJob        = "bf2e327e606cb6aebd4390e54151e5e3"
)
