package tasks_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// keysOf returns the keys of the lines of a file.
func keysOf(t *testing.T, file string) []string {
	t.Helper()
	var keys []string
	for line, err := range tasks.ReadCalls(strings.NewReader(file), oneUpstream) {
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, line.Call.Key)
	}
	return keys
}

func TestALineWithoutAKeyIsTheSameCallAtAnyPlaceInTheFile(t *testing.T) {
	a, b, c := `{"path":"/a"}`, `{"method":"POST","path":"/b","body":{"n":1}}`, `{"path":"/c","query":{"q":"x"}}`
	file := func(lines ...string) string { return strings.Join(lines, "\n") + "\n" }
	whole := keysOf(t, file(a, b, c))
	for change, test := range map[string]struct {
		file string
		want []string
	}{
		"a line is inserted at the top": {file(`{"path":"/new"}`, a, b, c), whole},
		"a line is inserted between":    {file(a, `{"path":"/new"}`, b, c), whole},
		"blank lines are inserted":      {file(a, "", b, "", "", c), whole},
		"a line is removed":             {file(a, c), []string{whole[0], whole[2]}},
		"the lines are sorted":          {file(c, a, b), whole},
		"the file is split":             {file(b, c), whole[1:]},
		"files are joined":              {file(b, c) + file(a), whole},
		"lines end as on Windows":       {strings.ReplaceAll(file(a, b, c), "\n", "\r\n"), whole},
		"the last line has no end":      {a + "\n" + b + "\n" + c, whole},
		"a byte order mark is added":    {"\xef\xbb\xbf" + file(a, b, c), whole},
		"lines are repeated":            {file(a, b, a, c, b), whole},
		"fields are in other order":     {file(a, `{"body":{"n":1},"path":"/b","method":"POST"}`, `{"query":{"q":"x"},"path":"/c"}`), whole},
		"white space is added":          {file(` { "path" : "/a" } `, `{"method":"POST", "path":"/b", "body":{ "n" : 1 }}`, "{\"path\":\"/c\",\t\"query\":{\"q\": \"x\"}}"), whole},
		"defaults are written out":      {file(`{"upstream":"u","method":"get","path":"/a","headers":{},"query":{},"body":null,"key":null}`, b, c), whole},
		"a query is in the path":        {file(a, b, `{"path":"/c?q=x"}`), whole},
		"times and priority are added":  {file(`{"path":"/a","priority":"high","not_before":"2030-01-01T00:00:00Z","deadline":"2031-01-01T00:00:00Z"}`, b, c), whole},
	} {
		got := keysOf(t, test.file)
		for _, key := range test.want {
			if !slices.Contains(got, key) {
				t.Errorf("%s: got %v, without %s", change, got, key)
			}
		}
	}
}

func TestALineWithoutAKeyIsAnotherCallIfItsRequestDiffers(t *testing.T) {
	base := `{"method":"POST","path":"/a","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":1}}`
	seen := map[string]string{keysOf(t, base)[0]: base}
	for _, line := range []string{
		`{"method":"PUT","path":"/a","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":1}}`,
		`{"method":"POST","path":"/b","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":1}}`,
		`{"method":"POST","path":"/a","query":{"n":2},"headers":{"X-A":"1"},"body":{"n":1}}`,
		`{"method":"POST","path":"/a","query":{"n":1.0},"headers":{"X-A":"1"},"body":{"n":1}}`, // the digits that are sent differ
		`{"method":"POST","path":"/a","query":{"n":1},"headers":{"X-A":"2"},"body":{"n":1}}`,
		`{"method":"POST","path":"/a","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":1.0}}`,
		`{"method":"POST","path":"/a","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":"1"}}`,
		`{"method":"POST","path":"/a","query":{"n":1},"headers":{"X-A":"1"},"body":{"n":1},"idempotent":true}`,
	} {
		key := keysOf(t, line)[0]
		if was, again := seen[key]; again {
			t.Errorf("%s and %s have one key", was, line)
		}
		seen[key] = line
	}
}

func TestEqualLinesWithoutAKeyAreOneCallUnlessTheirMetaDiffers(t *testing.T) {
	for file, want := range map[string][]string{
		`{"path":"/a"}|{"path":"/b"}|{"path":"/a"}|{"path":"/a"}`:             {"1", "2", "3=1", "4=1"},
		`{"path":"/a","key":"x"}|{"path":"/a"}|{"path":"/a","key":"y"}`:       {"1=x", "2", "3=y"},
		`{"path":"/a","meta":{"n":1}}|{"meta":{"n":1},"path":"/a"}`:           {"1", "2=1"},
		`{"path":"/a","meta":{"n":1}}|{"path":"/a","meta":{ "n" : 1 }}`:       {"1", "2=1"},
		`{"path":"/a","meta":{"n":1}}|{"path":"/a","meta":{"n":2}}`:           {"1", "2!meta"},
		`{"path":"/a"}|{"path":"/a","meta":{"n":2}}|{"path":"/a"}`:            {"1", "2!meta", "3=1"},
		`{"path":"/a","meta":{"n":1}}|{"path":"/a"}`:                          {"1", "2!meta"},
		`{"path":"/a","meta":null}|{"path":"/a"}`:                             {"1", "2=1"},
		`{"path":"/a","meta":{"n":1},"key":"x"}|{"path":"/a","meta":{"n":2}}`: {"1=x", "2"},
	} {
		if got, err := read(t, strings.NewReader(strings.ReplaceAll(file, "|", "\n")), oneUpstream); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v, %v, want %v", file, got, err, want)
		}
	}
}

func TestARefusalForMetaNamesBothLines(t *testing.T) {
	file := "{\"path\":\"/a\",\"meta\":{\"n\":1}}\n\n{\"path\":\"/a\",\"meta\":{\"n\":2}}\n"
	const want = `line 3: field "meta" is the only difference from line 1, and both lines have no key; give each a key`
	for _, err := range tasks.ReadCalls(strings.NewReader(file), oneUpstream) {
		if err != nil && err.Error() != want {
			t.Errorf("got %q, want %q", err, want)
		}
	}
}

func TestSendingCallsWithoutKeysInAnotherOrderRepeatsNone(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}})
		a, b, c := tasks.Call{Path: "/a"}, tasks.Call{Path: "/b"}, tasks.Call{Path: "/c", Key: "c"}
		if sum, err := p.SubmitAll(t.Context(), "b", seq(a, b, a, c)); err != nil || sum.Accepted != 3 || sum.Duplicate != 1 {
			t.Fatalf("got %+v, %v", sum, err)
		}
		if sum, err := p.SubmitAll(t.Context(), "b", seq(c, tasks.Call{Path: "/new"}, b, a)); err != nil || sum.Accepted != 1 || sum.Duplicate != 3 {
			t.Fatalf("got %+v, %v", sum, err)
		}
	})
}

func TestASingleCallWithoutAKeyIsAlwaysNew(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		p := producer(t, rdb, tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "api"}}})
		for range 2 {
			if r, err := p.Submit(t.Context(), tasks.Call{Path: "/a"}); err != nil || r.Duplicate {
				t.Fatalf("got %+v, %v", r, err)
			}
		}
	})
}
