package tasks_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
)

var twoUpstreams = tasks.Rules{Upstreams: []tasks.UpstreamRules{
	{Name: "patsnap", MaxBody: 10, ReservedQuery: []string{"apikey"}},
	{Name: "other", ReservedHeaders: []string{"X-Api-Key"}},
}}

// refusal parses and checks a line as ReadCalls does.
func refusal(t *testing.T, rules tasks.Rules, line string) *tasks.FieldError {
	t.Helper()
	call, err := tasks.ParseCall([]byte(line))
	if err == nil {
		if call.Key == "" {
			call.Key = "k"
		}
		_, err = rules.Check(call)
	}
	if err == nil {
		return nil
	}
	var bad *tasks.FieldError
	if !errors.As(err, &bad) {
		t.Fatalf("%s: not a FieldError: %v", line, err)
	}
	return bad
}

func TestTheErrorOfEachRuleNamesItsField(t *testing.T) {
	for _, test := range []struct{ line, field, says string }{
		{`{}`, "path", "missing"},
		{`{"path":null}`, "path", "missing"},
		{`{"path":""}`, "path", "missing"},
		{`{"path":"search"}`, "path", `must begin with "/" (got "search")`},
		{`{"path":" /search"}`, "path", "must begin"},
		{`{"path":"http://evil.example/x"}`, "path", "absolute URL"},
		{`{"path":"HTTPS://user:secret@evil.example"}`, "path", "absolute URL"},
		{`{"path":"javascript:x"}`, "path", "absolute URL"},
		{`{"path":"//evil.example/x"}`, "path", "names a host"},
		{`{"path":"/\\evil.example/x"}`, "path", "names a host"},
		{`{"path":"/a/../b"}`, "path", `".."`},
		{`{"path":"/.."}`, "path", `".."`},
		{`{"path":"/a/%2e%2E/b"}`, "path", `".."`},
		{`{"path":"/a/.%2e/b"}`, "path", `".."`},
		{`{"path":"/a%2f..%2fb"}`, "path", `".."`},
		{`{"path":"/a\\..\\b"}`, "path", `".."`},
		{`{"path":"/a%5c..%5Cb"}`, "path", `".."`},
		{`{"path":"/a/..;x=1/b"}`, "path", `".."`},
		{`{"path":"/a/%252e%252e/b"}`, "path", `".."`},
		{`{"path":"/a/%c0%ae%c0%ae/b"}`, "path", `".."`},
		{`{"path":"/%2525252525252e"}`, "path", "several times"},
		{`{"path":"/a#b"}`, "path", "fragment"},
		{`{"path":"/a\r\nHost: x"}`, "path", "0x0d"},
		{`{"path":"/a\u0085"}`, "path", "U+0085"},
		{`{"path":"/a\u007f"}`, "path", "0x7f"},
		{`{"path":"/a%0d%0aX:1"}`, "path", "percent-encoded control"},
		{`{"path":"/a%00"}`, "path", "percent-encoded control"},
		{`{"path":"/a?b=\n"}`, "path", "control"},
		{`{"path":"/a%zz"}`, "path", "two hex digits"},
		{`{"path":"/a?q=100%"}`, "path", "two hex digits"},
		{`{"path":"/a?x=%2"}`, "path", "two hex digits"},
		{`{"path":7}`, "path", "must be a string, got a number"},
		{`{"path":"\ud800"}`, "path", "surrogate"},
		{`{"path":"\udc00\udc00"}`, "path", "surrogate"},
		{`{"path":"\ud800\ud800"}`, "path", "surrogate"},
		{`{"path":"/` + strings.Repeat("a", 70000) + `"}`, "path", "70001 bytes"},
		{`{"path":"/s","method":"GE T"}`, "method", "not an HTTP method"},
		{`{"path":"/s","method":"GET\r\nX: y"}`, "method", "not an HTTP method"},
		{`{"path":"/s","method":"connect"}`, "method", "leave the upstream"},
		{`{"path":"/s","method":"TRACE"}`, "method", "would echo"},
		{`{"path":"/s","method":"job"}`, "method", "jobs in Go"},
		{`{"path":"/s","method":["GET"]}`, "method", "got an array"},
		{`{"path":"/s","query":[]}`, "query", "must be an object, got an array"},
		{`{"path":"/s","query":{"a":{"b":1}}}`, "query.a", "got an object"},
		{`{"path":"/s","query":{"a":[[1]]}}`, "query.a", "got an array"},
		{`{"path":"/s","query":{"a":"x\ny"}}`, "query.a", "control"},
		{`{"path":"/s","query":{"a\u0000":"x"}}`, "query", "control"},
		{`{"path":"/s","query":{"a":1,"\u0061":2}}`, "query.a", "twice"},
		{`{"path":"/s","upstream":"patsnap","query":{"apikey":"mine"}}`, "query", "credential"},
		{`{"path":"/s?x=1&api%6bey=mine","upstream":"patsnap"}`, "path", "credential"},
		{`{"path":"/s","headers":"x"}`, "headers", "object of strings, got a string"},
		{`{"path":"/s","headers":{"X-A":1}}`, "headers.X-A", "must be a string, got a number"},
		{`{"path":"/s","headers":{"X A":"1"}}`, "headers", "not a header name"},
		{`{"path":"/s","headers":{"":"1"}}`, "headers", "not a header name"},
		{`{"path":"/s","headers":{"X-A\r\nB":"1"}}`, "headers", "not a header name"},
		{`{"path":"/s","headers":{"X-A":"1\r\nHost: evil"}}`, "headers.X-A", "control"},
		{`{"path":"/s","headers":{"X-A":"1","x-a":"2"}}`, "headers.X-A", "twice"},
		{`{"path":"/s","headers":{"authorization":"Bearer sk-secret"}}`, "headers.Authorization", "is set by callq"},
		{`{"path":"/s","upstream":"other","headers":{"x-api-key":"sk-secret"}}`, "headers.X-Api-Key", "is set by callq"},
		{`{"path":"/s","upstream":"patsnap","body":"12345678901"}`, "body", "11 bytes; at most 10 are allowed"},
		{`{"path":"/s","upstream":"patsnap","body":{"base64":"MTIzNDU2Nzg5MDE=","content_type":""}}`, "body", "11 bytes"},
		{`{"path":"/s","upstream":"patsnap","body":{"a":12345}}`, "body", "11 bytes"},
		{`{"path":"/s","body":{"base64":"?","content_type":"x"}}`, "body.base64", "is not base64"},
		{`{"path":"/s","body":{"base64":"AA\nE=","content_type":"x"}}`, "body.base64", "is not base64"},
		{`{"path":"/s","body":{"base64":7,"content_type":"x"}}`, "body.base64", "got a number"},
		{`{"path":"/s","body":{"base64":"","content_type":7}}`, "body.content_type", "got a number"},
		{`{"path":"/s","body":{"base64":"","content_type":"a\r\nb"}}`, "body.content_type", "control"},
		{`{"path":"/s","body":"\ud83d"}`, "body", "surrogate"},
		{`{"path":"/s","upstream":"patsnpa"}`, "upstream", `there is no upstream "patsnpa"; configured: other, patsnap`},
		{`{"path":"/s","upstream":null}`, "upstream", "is missing; configured: other, patsnap"},
		{`{"path":"/s","key":""}`, "key", "is empty"},
		{`{"path":"/s","key":"a\tb"}`, "key", "control"},
		{`{"path":"/s","key":"` + strings.Repeat("k", 201) + `"}`, "key", "201 bytes"},
		{`{"path":"/s","batch":"{a}"}`, "batch", "not a valid name of a batch"},
		{`{"path":"/s","batch":" a"}`, "batch", "not a valid name of a batch"},
		{`{"path":"/s","batch":"a\u200b"}`, "batch", "not a valid name of a batch"},
		{`{"path":"/s","batch":"` + strings.Repeat("é", 201) + `"}`, "batch", "201 characters"},
		{`{"path":"/s","batch":""}`, "batch", "is empty"},
		{`{"path":"/s","priority":"urgent"}`, "priority", `there is no priority "urgent"; use high, normal or low`},
		{`{"path":"/s","idempotent":"yes"}`, "idempotent", "true, false or null, got a string"},
		{`{"path":"/s","not_before":"tomorrow"}`, "not_before", "RFC 3339"},
		{`{"path":"/s","not_before":1767225600}`, "not_before", "must be a string"},
		{`{"path":"/s","deadline":"2026-01-01 08:00:00"}`, "deadline", "RFC 3339"},
		{`{"path":"/s","deadline":"9999-12-31T23:59:59-01:00"}`, "deadline", "years"},
		{`{"path":"/s","not_before":"2026-01-02T00:00:00Z","deadline":"2026-01-01T00:00:00Z"}`, "deadline", "before not_before"},
		{`{"path":"/s","path":"/t"}`, "path", "twice"},
		{`{"path":"/s","p\u0061th":"/t"}`, "path", "twice"},
		{`{"path":"/s","hedaers":{}}`, "hedaers", `did you mean "headers"?`},
		{`{"path":"/s","Method":"GET"}`, "Method", `did you mean "method"?`},
		{`{"url":"/s"}`, "url", `did you mean "path"?`},
		{`{"path":"/s","retries":3}`, "retries", "the fields are key, batch, upstream"},
		{`{"path":"/s","v":1}`, "v", "is unknown"},
		{`[{"path":"/s"}]`, "", "is an array, not an object"},
		{`"path"`, "", "is a string, not an object"},
		{`null`, "", "is null"},
		{`{"path":"/s"} {"path":"/t"}`, "", "has more text after its JSON object"},
		{`{"path":"/s"}]`, "", "has more text after its JSON object"},
		{`{"path":"/s"`, "", "ends before its JSON object is complete"},
		{`{"path":'/s'}`, "", "is not JSON: unexpected '\\'' at byte 9"},
		{`key,path`, "", "is not JSON: unexpected 'k' at byte 1; write one JSON object a line"},
		{"{\"path\":\"/\xff\"}", "", "not valid UTF-8 at byte 11"},
		{"{\"path\":\"/a\nb\"}", "", "is not JSON"},
	} {
		rules := twoUpstreams
		if !strings.Contains(test.line, `"upstream":`) {
			rules.Upstreams = rules.Upstreams[1:]
		}
		bad := refusal(t, rules, test.line)
		line := test.line[:min(len(test.line), 100)]
		switch {
		case bad == nil:
			t.Errorf("%s: accepted", line)
		case bad.Field != test.field || !strings.Contains(bad.Error(), test.says):
			t.Errorf("%s: %v\nwant field %q: …%s…", line, bad, test.field, test.says)
		case strings.Contains(bad.Error(), "secret") || strings.Contains(bad.Error(), "mine"):
			t.Errorf("%s: the error contains a secret: %v", line, bad)
		}
	}
}

func TestUnusualButValidCallsAreAccepted(t *testing.T) {
	for _, line := range []string{
		`{"path":"/"}`, `{"path":"/a..b/...c/..."}`, `{"path":"/./a"}`, `{"path":"/a//b"}`, `{"path":"/a?u=http://x/../y"}`, `{"path":"/a?x=%0A"}`,
		`{"path":"/100%25"}`, `{"path":"/a%2Fb"}`, `{"path":"/专利 x"}`, `{"path":"/a:b@c;d=e"}`, `{"path":"/a?"}`, `{"path":"/a??b"}`,
		`{"path":"/s","method":"m-search"}`, `{"path":"/s","body":{"base64":"x"}}`, `{"path":"/s","body":{"base64":1,"content_type":2,"more":3}}`,
		`{"path":"/s","body":"line\r\nline\u0000"}`, `{"path":"/s","headers":{"X-A":"é","Content-Type":"a/b","User-Agent":"me"}}`,
		`{"path":"/s","query":{"apikeys":"1"}}`, `{"path":"/s","batch":"july 2026/a"}`, `{"path":"/s","deadline":"2000-01-01T00:00:00Z"}`,
		`{"path":"/s","key":"\ud83d\udd0b"}`, `{"path":"/s","key":"` + strings.Repeat("k", 200) + `"}`, `{"path":"/s","key":null,"method":null,"query":null,"headers":null,"priority":null,"idempotent":null}`,
	} {
		rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "only", ReservedQuery: []string{"apikey"}}}}
		if bad := refusal(t, rules, line); bad != nil {
			t.Errorf("%s: %v", line, bad)
		}
	}
}

func TestCheckAddsTheDefaultsAndDoesNotChangeTheCallersMaps(t *testing.T) {
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "only"}}}
	query := tasks.Query{"n": 7, "f": float32(0.1), "list": []string{"a", "b"}, "d": time.Second}
	headers := map[string]string{"x-trace-me": " yes "}
	got, err := rules.Check(tasks.Call{
		Key: "k", Path: "/s", Query: query, Headers: headers, Body: json.RawMessage("{ \"a\" : 1.0 }"),
		Deadline: ptr(time.Date(2026, 1, 1, 8, 0, 0, 0, time.FixedZone("", 8*3600))),
	})
	want := tasks.Call{
		Key: "k", Upstream: "only", Method: "GET", Path: "/s", Priority: "normal", Body: json.RawMessage(`{"a":1.0}`),
		Query:   tasks.Query{"n": json.Number("7"), "f": json.Number("0.1"), "list": []any{"a", "b"}, "d": json.Number("1000000000")},
		Headers: map[string]string{"X-Trace-Me": "yes"}, Deadline: instant("2026-01-01T00:00:00Z"),
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, %v", got, err)
	}
	if _, converted := query["n"].(int); !converted || headers["x-trace-me"] != " yes " {
		t.Error("the caller's maps were changed")
	}
	empty, err := rules.Check(tasks.Call{
		Key: "k", Path: "/s", Query: tasks.Query{}, Headers: map[string]string{}, Body: json.RawMessage(" null "), Deadline: &time.Time{},
	})
	if err != nil || empty.Query != nil || empty.Headers != nil || empty.Body != nil || empty.Deadline != nil {
		t.Errorf("empty fields: got %#v, %v", empty, err)
	}
}

func TestTheDefaultBodyLimitIsEightMebibytes(t *testing.T) {
	for _, test := range []struct {
		rules tasks.Rules
		size  int
		fits  bool
	}{
		{tasks.Rules{}, 8 << 20, true},
		{tasks.Rules{}, 8<<20 + 1, false},
		{tasks.Rules{MaxBody: 5}, 5, true},
		{tasks.Rules{MaxBody: 5}, 6, false},
		{tasks.Rules{MaxBody: 5, Upstreams: []tasks.UpstreamRules{{Name: "u", MaxBody: 7}}}, 7, true},
		{tasks.Rules{MaxBody: 5, Upstreams: []tasks.UpstreamRules{{Name: "u"}}}, 6, false},
	} {
		body := fmt.Sprintf(`{"base64":%q,"content_type":""}`, base64.StdEncoding.EncodeToString(make([]byte, test.size)))
		_, err := test.rules.Check(tasks.Call{Key: "k", Upstream: "u", Path: "/", Body: json.RawMessage(body)})
		if (err == nil) != test.fits {
			t.Errorf("%+v, %d bytes: %v", test.rules, test.size, err)
		}
	}
}

func TestWithoutConfiguredUpstreamsAnyWellFormedNameIsAccepted(t *testing.T) {
	for name, fine := range map[string]bool{
		"patsnap": true, "a_b-9": true, "": false, "Patsnap": false, "a b": false, "a:high": false, "{a}": false, strings.Repeat("a", 65): false,
	} {
		if _, err := (tasks.Rules{}).Check(tasks.Call{Key: "k", Path: "/", Upstream: name}); (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestCheckBatchChecksTheRulesForNames(t *testing.T) {
	for name, fine := range map[string]bool{
		"a": true, "七月 2026": true, strings.Repeat("é", 200): true,
		"": false, "a{b": false, "a}": false, "a\nb": false, "\xff": false, "a ": false, strings.Repeat("a", 201): false,
	} {
		if err := tasks.CheckBatch(name); (err == nil) != fine {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func ExampleRules_Check() {
	rules := tasks.Rules{Upstreams: []tasks.UpstreamRules{{Name: "patsnap"}}}
	call, err := rules.Check(tasks.Call{Key: "row-1", Path: "/search", Query: tasks.Query{"q": "solar cell"}})
	fmt.Println(call.Upstream, call.Method, call.Priority, err)

	_, err = rules.Check(tasks.Call{Key: "row-2", Path: "https://connect.example/search"})
	fmt.Println(err)
	_, err = rules.Check(tasks.Call{Key: "row-3", Path: "/search", Headers: map[string]string{"Authorization": "Bearer mine"}})
	fmt.Println(err)
	// Output:
	// patsnap GET normal <nil>
	// field "path" is an absolute URL; write the path relative to the upstream's base_url
	// field "headers.Authorization" is set by callq; remove it, and write a credential into the upstream's auth
}
