package worker_test

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker"
	"github.com/seed-2903acc3/callq/worker/callqtest"
)

// load runs the Redis commands of a file: one a line, each argument quoted.
func load(t *testing.T, env *callqtest.Env, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var command []any
		for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			argument, err := strconv.Unquote(quoted)
			if err != nil {
				t.Fatalf("%s: %v", quoted, err)
			}
			command, line = append(command, argument), line[len(quoted):]
		}
		if err := env.Redis().Do(t.Context(), command...).Err(); err != nil {
			t.Fatalf("%v: %v", command, err)
		}
	}
}

// TestCallsThatAnEarlierVersionAcceptedAreMade has what a producer wrote to Redis before
// records had contents of version 3 and short hashes, for the file of three lines below.
func TestCallsThatAnEarlierVersionAcceptedAreMade(t *testing.T) {
	const file = `{"path":"/patent/1","query":{"q":"solar cell"}}
{"key":"row 2","method":"POST","path":"/search","body":{"n":2},"priority":"high","meta":{"row":2}}
{"key":"3","path":"/patent/3","priority":"low"}
`
	each(t, worker.Config{}, func(t *testing.T, env *callqtest.Env) {
		load(t, env, "testdata/waiting-v2.txt")
		rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "sim"}}}
		send := func(file string) tasks.Summary {
			t.Helper()
			sum, err := env.Producer().SubmitLines(t.Context(), "july", tasks.ReadCalls(strings.NewReader(file), tasks.ReadOptions{Rules: rules}), nil)
			if err != nil {
				t.Fatal(err)
			}
			return sum
		}
		if sum := send(file); sum.Duplicate != 3 {
			t.Errorf("the same file again: %+v", sum)
		}
		if sum := send(strings.Replace(file, "/patent/3", "/patent/4", 1)); sum.Duplicate != 2 || sum.Refused != 1 {
			t.Errorf("a file with another path: %+v", sum)
		}
		env.Start()
		results := env.AwaitBatch("july")
		for key, expected := range map[string]struct{ digest, method, path, meta string }{
			"c-f230008733a6b8e2": {"f230008733a6b8e2a768895fab46f08c", "GET", "/patent/1", ""},
			"row 2":              {"c63bac88d98b3ce05ca32c16e110ce6b", "POST", "/search", `{"row":2}`},
			"3":                  {"07c32d8f22d7c88acec594334dfc822f", "GET", "/patent/3", ""},
		} {
			r := results[key]
			want(t, r, tasks.StateDone, policy.ClassOK, 1)
			if r.Digest != expected.digest || r.Method != expected.method || r.Path != expected.path || string(r.Meta) != expected.meta {
				t.Errorf("key %s: got %+v", key, r)
			}
		}
	})
}
