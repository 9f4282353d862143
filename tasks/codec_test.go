package tasks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"pgregory.net/rapid"
)

func ptr[T any](v T) *T { return &v }

func instant(s string) *time.Time {
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return ptr(at.UTC())
}

// golden is, by version, the call of each golden file. Version 3 has no fields of its own.
var golden = map[string]map[string]tasks.Call{"v1": goldenV1, "v2": goldenV2, "v3": union(goldenV1, goldenV2)}

func union(a, b map[string]tasks.Call) map[string]tasks.Call {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}

// recordOf returns the record of a call with the given content.
func recordOf(c tasks.Call, content []byte) *ledger.Record {
	return &ledger.Record{Key: c.Key, Batch: c.Batch, Queue: tasks.Queue(c.Upstream, c.Priority), Content: content}
}

// decode reads content of version 1 or 2 as that of a record with the same key, batch,
// upstream and priority.
func decode(content []byte) (tasks.Call, error) {
	var c tasks.Call
	_ = json.Unmarshal(content, &struct {
		Key, Batch, Upstream *string
		Priority             *tasks.Priority
	}{&c.Key, &c.Batch, &c.Upstream, &c.Priority})
	return records.Call(recordOf(c, content))
}

// goldenV1 is the call of each file of testdata/v1. These files are never changed or removed:
// a Redis may still hold calls written by any release.
var goldenV1 = map[string]tasks.Call{
	"minimal": {Key: "line-1", Upstream: "patsnap", Method: "GET", Path: "/search", Priority: "normal"},
	"everything": {
		Key: "row-1", Batch: "july", Upstream: "patsnap", Method: "POST", Path: "/search/patent?lang=en",
		Query:    tasks.Query{"q": "solar cell", "page": json.Number("2"), "exact": true, "year": []any{json.Number("2023"), "2024", false}},
		Headers:  map[string]string{"Accept-Language": "en", "X-Team": "a, b"},
		Body:     json.RawMessage(`{"filter":{"b":1,"a":[1,2]},"text":"a<b>&c"}`),
		Priority: "high", Idempotent: ptr(true), NotBefore: instant("2026-01-31T08:00:00Z"), Deadline: instant("2026-02-01T08:00:00.123456789Z"),
	},
	"text_body":   {Key: "k", Batch: "b", Upstream: "u", Method: "PUT", Path: "/note", Body: json.RawMessage(`"line one\nline two"`), Priority: "normal"},
	"empty_text":  {Key: "k", Batch: "b", Upstream: "u", Method: "PUT", Path: "/note", Body: json.RawMessage(`""`), Priority: "normal"},
	"base64_body": {Key: "k", Batch: "b", Upstream: "u", Method: "POST", Path: "/upload", Body: json.RawMessage(`{"base64":"AAH/","content_type":"image/png"}`), Priority: "low"},
	"big_numbers": {
		Key: "k", Batch: "b", Upstream: "u", Method: "POST", Path: "/n", Priority: "normal",
		Query: tasks.Query{"id": json.Number("12345678901234567890123"), "rate": json.Number("0.10"), "e": json.Number("-1E+400")},
		Body:  json.RawMessage(`{"id":12345678901234567890123,"price":19.90,"tiny":1e-400,"zero":-0.0}`),
	},
	"unicode":         {Key: "专利-1 🔋", Batch: "七月", Upstream: "u", Method: "GET", Path: "/专利/检索", Query: tasks.Query{"q": "電池 é \u2028 🔋"}, Priority: "normal"},
	"escapes":         {Key: `a"b\c`, Batch: "b", Upstream: "u", Method: "GET", Path: `/a%20b?q=%22x%22&p="<>&`, Body: json.RawMessage(`"\u0000\u001f\\\""`), Priority: "normal"},
	"not_idempotent":  {Key: "k", Batch: "b", Upstream: "u", Method: "GET", Path: "/pay", Idempotent: ptr(false), Priority: "normal"},
	"empty_list":      {Key: "k", Batch: "b", Upstream: "u", Method: "GET", Path: "/s", Query: tasks.Query{"": "", "none": []any{}}, Priority: "normal"},
	"own_method":      {Key: "k", Batch: "b", Upstream: "u", Method: "PURGE", Path: "/cache", Priority: "normal"},
	"job":             {Key: "inv-7", Batch: "invoices", Upstream: "mailer", Method: "JOB", Path: "/invoice.send", Body: json.RawMessage(`{"invoice":7,"to":"a@example.com"}`), Priority: "high", Idempotent: ptr(false), Deadline: instant("2026-03-01T00:00:00Z")},
	"job_no_args":     {Key: "k", Batch: "b", Upstream: "sdk", Method: "JOB", Path: "/nightly", Priority: "normal"},
	"job_text_args":   {Key: "k", Batch: "b", Upstream: "sdk", Method: "JOB", Path: "/echo:v2", Body: json.RawMessage(`"hello"`), Priority: "normal"},
	"array_body":      {Key: "k", Batch: "b", Upstream: "u", Method: "PATCH", Path: "/list", Body: json.RawMessage(`[1,"two",null,{"base64":"AA=="}]`), Priority: "normal"},
	"nothing_checked": {Method: "GET", Priority: "normal"},
}

// goldenV2 are calls with the field of version 2.
var goldenV2 = map[string]tasks.Call{
	"meta":       {Key: "row-1", Batch: "july", Upstream: "patsnap", Method: "GET", Path: "/search", Priority: "normal", Meta: json.RawMessage(`{"row":17}`)},
	"meta_empty": {Key: "k", Batch: "b", Upstream: "u", Method: "GET", Path: "/s", Priority: "normal", Meta: json.RawMessage(`{}`)},
	"meta_as_it_came": {
		Key: "k", Batch: "b", Upstream: "u", Method: "POST", Path: "/s", Body: json.RawMessage(`{"a":1}`), Priority: "low",
		Deadline: instant("2026-02-01T08:00:00Z"),
		Meta:     json.RawMessage(`{ "id" : 12345678901234567890.10,"b":1 , "b":2, "text":"a<b\u0041\n专" }`),
	},
	"meta_of_a_job": {Key: "inv-7", Batch: "invoices", Upstream: "mailer", Method: "JOB", Path: "/invoice.send", Body: json.RawMessage(`{"invoice":7}`), Priority: "normal", Meta: json.RawMessage(`{"who":"a"}`)},
}

func goldenFiles(t testing.TB, version string) map[string][]byte {
	t.Helper()
	paths, err := filepath.Glob("testdata/" + version + "/*.json")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	files := map[string][]byte{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files[strings.TrimSuffix(filepath.Base(path), ".json")] = bytes.TrimSuffix(data, []byte("\n"))
	}
	return files
}

func TestEveryGoldenFileOfEveryVersionDecodes(t *testing.T) {
	for version, calls := range golden {
		files := goldenFiles(t, version)
		for name := range calls {
			if files[name] == nil {
				t.Errorf("testdata/%s/%s.json is gone", version, name)
			}
		}
		for name, data := range files {
			want, known := calls[name]
			if !known {
				t.Errorf("testdata/%s/%s.json has no expectation in golden", version, name)
				continue
			}
			got, err := records.Call(recordOf(want, data))
			if err != nil {
				t.Errorf("%s: %v", name, err)
			} else if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\n got %#v\nwant %#v", name, got, want)
			}
		}
	}
}

func TestACallIsStoredInVersion3(t *testing.T) {
	files := goldenFiles(t, "v3")
	for name, call := range golden["v3"] {
		got, err := records.Content(call)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(got, files[name]) {
			t.Errorf("%s:\n got %s\nwant %s", name, got, files[name])
		}
	}
}

func TestACallHasTheKeyBatchUpstreamAndPriorityOfItsRecord(t *testing.T) {
	content := []byte(`{"v":3,"path":"/s"}`)
	for queue, priority := range map[string]tasks.Priority{"api:high": tasks.PriorityHigh, "api": tasks.PriorityNormal, "api:low": tasks.PriorityLow} {
		got, err := records.Call(&ledger.Record{Key: "k", Batch: "b", Queue: queue, Content: content})
		want := tasks.Call{Key: "k", Batch: "b", Upstream: "api", Method: "GET", Path: "/s", Priority: priority}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %#v, %v", queue, got, err)
		}
	}
}

func TestACallOfAnotherUpstreamThanItsQueueIsNotRead(t *testing.T) {
	for _, content := range []string{`{"v":1,"upstream":"other","path":"/s"}`, `{"v":2,"path":"/s"}`, `{"v":3,"upstream":"api","path":"/s"}`} {
		if _, err := records.Call(&ledger.Record{Queue: "api:low", Content: []byte(content)}); !errors.Is(err, tasks.ErrMalformed) {
			t.Errorf("%s: %v", content, err)
		}
	}
}

func TestDecodeAcceptsAnyWhiteSpaceAndFieldOrder(t *testing.T) {
	got, err := decode([]byte(" {\"path\" : \"/s\", \"query\":{}, \"headers\": { }, \"body\" : null ,\n\"v\" : 1, \"key\":\"k\" } "))
	want := tasks.Call{Key: "k", Method: "GET", Path: "/s", Priority: tasks.PriorityNormal}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %#v, %v", got, err)
	}
}

func TestDecodeDistinguishesANewerVersionFromOtherErrors(t *testing.T) {
	for _, data := range []string{
		`{"v":4}`, `{"v":4,"path":7,"wholly":"new"}`, `{"wholly":"new","v":17}`, `{"v":99999999999999999999999}`,
	} {
		if _, err := decode([]byte(data)); !errors.Is(err, tasks.ErrNewerVersion) || errors.Is(err, tasks.ErrMalformed) {
			t.Errorf("%s: %v", data, err)
		}
	}
	for _, data := range []string{
		"", " ", "{", "null", "[]", `"v"`, "{}", `{"v":0}`, `{"v":-1}`, `{"v":1.0}`, `{"v":"1"}`, `{"v":null}`, `{"v":-99999999999999999999}`,
		`{"v":1,"v":1}`, `{"v":1,"path":7}`, `{"v":1,"nope":1}`, `{"v":1,"key":"a","key":"b"}`, `{"v":1} x`, `{"v":1,"key":""}`,
		"{\"v\":1,\"key\":\"\xff\"}", `{"v":1,"key":"\ud800"}`, `{"v":1,"deadline":"tomorrow"}`, `{"v":2,"meta":[]}`, `{"v":2,"meta":"x"}`, "\x00\x01", `{"path":"/s"}`,
		`{"v":3,"key":"k"}`, `{"v":3,"batch":"b"}`, `{"v":3,"priority":"normal"}`, `{"v":3,"meta":1}`,
	} {
		if _, err := decode([]byte(data)); !errors.Is(err, tasks.ErrMalformed) || errors.Is(err, tasks.ErrNewerVersion) {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// anyCall draws calls as a caller may build them, before Check.
func anyCall(t *rapid.T) tasks.Call {
	text := rapid.StringMatching(`[a-zA-Z0-9é专🔋 "\\<>&%=+;,_.-]{1,20}`)
	number := rapid.StringMatching(`-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?`)
	scalar := func() any {
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			return json.Number(number.Draw(t, "number"))
		case 1:
			return rapid.Bool().Draw(t, "bool")
		case 2:
			return rapid.Int64().Draw(t, "int")
		case 3:
			return rapid.Float64Range(-1e300, 1e300).Draw(t, "float")
		default:
			return text.Draw(t, "text")
		}
	}
	c := tasks.Call{
		Key: text.Draw(t, "key"), Batch: rapid.SampledFrom([]string{"", "july", "七月 2"}).Draw(t, "batch"), Upstream: "patsnap",
		Method:   rapid.SampledFrom([]string{"", "get", "POST", "Purge"}).Draw(t, "method"),
		Path:     "/" + rapid.StringMatching(`([a-z é专]|%2[0-9A-D]){0,9}(\?[a-z =&é]{0,9})?`).Draw(t, "path"),
		Priority: rapid.SampledFrom([]tasks.Priority{"", "high", "normal", "low"}).Draw(t, "priority"),
	}
	if rapid.Bool().Draw(t, "query?") {
		c.Query = tasks.Query{}
		for range rapid.IntRange(0, 12).Draw(t, "params") {
			name := text.Draw(t, "param")
			switch c.Query[name] = scalar(); rapid.IntRange(0, 4).Draw(t, "list?") {
			case 1:
				c.Query[name] = []any{scalar(), scalar()}
			case 2:
				c.Query[name] = []any{scalar(), nil, scalar()}
			case 3:
				c.Query[name] = nil
			}
		}
	}
	if rapid.Bool().Draw(t, "headers?") {
		c.Headers = map[string]string{"x-" + rapid.StringMatching(`[a-z]{1,5}`).Draw(t, "header"): text.Draw(t, "value")}
	}
	switch rapid.IntRange(0, 4).Draw(t, "body") {
	case 1:
		c.Body, _ = json.Marshal(rapid.String().Draw(t, "text body"))
	case 2:
		c.Body, _ = json.MarshalIndent(map[string]any{"base64": rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"), "content_type": text.Draw(t, "type")}, "", " ")
	case 3:
		c.Body = json.RawMessage("{ \"n\" : [ " + number.Draw(t, "body number") + " ] ,\r\n\t\"s\": \" \\n\\u0041 < \" }")
	case 4:
		c.Body = json.RawMessage(rapid.SampledFrom([]string{"null", " null ", "true", " 7 ", "[]", "{}"}).Draw(t, "lone body"))
	}
	if rapid.Bool().Draw(t, "meta?") {
		c.Meta = json.RawMessage(rapid.SampledFrom([]string{"null", "{}", `{ "a" : [ 1 ] }`, "{\r\n \"a\": 1.10 }", ` {"a":"\\n"} `}).Draw(t, "meta"))
	}
	if rapid.Bool().Draw(t, "idempotent?") {
		c.Idempotent = ptr(rapid.Bool().Draw(t, "idempotent"))
	}
	if rapid.Bool().Draw(t, "deadline?") {
		zone := time.FixedZone("", rapid.IntRange(-12, 14).Draw(t, "zone")*3600)
		c.Deadline = ptr(time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999999999).Draw(t, "ns")).In(zone))
	}
	return c
}

func TestReadingAStoredCallReturnsTheSameCall(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := anyCall(t)
		call, err := tasks.Rules{}.Check(raw)
		if err != nil {
			t.Skip(err) // such as a key of spaces that the generator cannot rule out
		}
		if again, err := (tasks.Rules{}).Check(call); err != nil || !reflect.DeepEqual(again, call) {
			t.Fatalf("checking twice changed\n%#v\nto\n%#v, %v", call, again, err)
		}
		if a, b := tasks.ContentHash(raw), tasks.ContentHash(call); a != b {
			t.Fatalf("checking changed the content hash of %#v", raw)
		}
		stored, err := records.Content(call)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.ContainsAny(stored, "\r\n") || !json.Valid(stored) {
			t.Fatalf("not one line of JSON: %q", stored)
		}
		if back, err := records.Call(recordOf(call, stored)); err != nil || !reflect.DeepEqual(back, call) {
			t.Fatalf("%s\n got %#v, %v\nwant %#v", stored, back, err, call)
		}
		line, err := tasks.AppendCall(nil, call)
		if err != nil {
			t.Fatal(err)
		}
		for got, err := range tasks.ReadCalls(bytes.NewReader(line), tasks.ReadOptions{AllowBatch: true}) {
			if err != nil || !reflect.DeepEqual(got.Call, call) {
				t.Fatalf("%s\n got %#v, %v\nwant %#v", line, got.Call, err, call)
			}
		}
		asJSON, err := json.Marshal(call)
		if err != nil {
			t.Fatal(err)
		}
		var loose tasks.Call
		if err := json.Unmarshal(asJSON, &loose); err != nil || !reflect.DeepEqual(loose.Query, call.Query) {
			t.Fatalf("json.Marshal and Unmarshal: got %s, %v", asJSON, err)
		}
	})
}

func TestACallThatCouldNotBeReadIsNotWritten(t *testing.T) {
	for name, call := range map[string]tasks.Call{
		"key":        {Key: "\xff", Path: "/"},
		"query":      {Path: "/", Query: tasks.Query{"\xff": "x"}},
		"query.a":    {Path: "/", Query: tasks.Query{"a": []string{"\xff"}}},
		"query.b":    {Path: "/", Query: tasks.Query{"b": map[string]int{}}},
		"query.c":    {Path: "/", Query: tasks.Query{"c": json.Number("1 ")}},
		"headers":    {Path: "/", Headers: map[string]string{"X": "\xff"}},
		"body":       {Path: "/", Body: json.RawMessage("{")},
		"deadline":   {Path: "/", Deadline: ptr(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC))},
		"path":       {Path: "/\xff"},
		"priority":   {Path: "/", Priority: "\xff"},
		"query.deep": {Path: "/", Query: tasks.Query{"deep": []any{[]any{"x"}}}},
		"meta":       {Path: "/", Meta: json.RawMessage(`[]`)},
	} {
		_, err := tasks.AppendCall(nil, call)
		if bad := (*tasks.FieldError)(nil); !errors.As(err, &bad) || bad.Field != name {
			t.Errorf("%s in a line: %v", name, err)
		}
		if name == "key" || name == "priority" { // the content has neither
			continue
		}
		_, err = records.Content(call)
		if bad := (*tasks.FieldError)(nil); !errors.As(err, &bad) || bad.Field != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzStoredCall(f *testing.F) {
	for version := range golden {
		for _, data := range goldenFiles(f, version) {
			f.Add(data)
		}
	}
	for _, seed := range []string{
		`{"v":1,"k\u0065y":"x","path":"/"}`, `{"v":1,"body":{"base64":"!","content_type":null}}`, `{"v":1,"body":"\ud83d\udd0b"}`,
		`{"v":1,"query":{"a":[],"b":[[1]]}}`, `{"v":1,"deadline":"0001-01-01T00:00:00Z"}`, `{"v":1,"deadline":"9999-12-31T23:59:59-01:00"}`,
		`{"v":3}`, `{"v":4}`, `{"v":2,"meta":{"a": 1 }}`, `{"v":1,"key":7}`, `{"v":1,"body": [ { } , [ ] ]}`, `{"v":1,"headers":{"":"","a":"b"}}`, "{\"v\":1,\"body\":\"\u2028\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		call, err := decode(data)
		if err != nil {
			if errors.Is(err, tasks.ErrMalformed) == errors.Is(err, tasks.ErrNewerVersion) {
				t.Fatalf("got neither or both of the errors: %v", err)
			}
			return
		}
		stored, err := records.Content(call)
		if err != nil {
			t.Fatalf("a call that was read cannot be stored: %v", err)
		}
		again, err := records.Call(recordOf(call, stored))
		if err != nil || !reflect.DeepEqual(again, call) {
			t.Fatalf("%s\n got %#v, %v\nwant %#v", stored, again, err, call)
		}
		// Anyone who can write to Redis may have written the stored call.
		if path, err := call.URLPath(); err == nil && (path[0] != '/' || strings.HasPrefix(path, "//")) {
			t.Fatalf("path %q leaves the upstream", path)
		}
		_, _ = call.URLQuery()
		_, _, _ = call.RequestBody()
		_ = tasks.ContentHash(call)
	})
}
