package tasks_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
)

// resultLine returns the results line of a call that was parsed, checked, stored, read and ended.
func resultLine(t *testing.T, line string) (call tasks.Call, result tasks.Result, text string) {
	t.Helper()
	parsed, err := tasks.ParseCall([]byte(line))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	if call, err = (tasks.Rules{}).Check(parsed); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	stored, err := records.Content(call)
	if err != nil {
		t.Fatal(err)
	}
	result = records.Result(ledger.Record{Key: call.Key, Queue: "u", State: ledger.Done, Content: stored})
	out, err := tasks.EncodeResult(nil, result)
	if err != nil {
		t.Fatal(err)
	}
	return call, result, string(out)
}

func TestAResultHasTheMetaOfItsCallUnchanged(t *testing.T) {
	for _, test := range []struct{ meta, want string }{
		{`{"row":17}`, `{"row":17}`},
		{`{}`, `{}`},
		{`{ "a" : 1.10, "b":[ ] }`, `{ "a" : 1.10, "b":[ ] }`},
		{`{"id":12345678901234567890.10,"e":-1E+400}`, `{"id":12345678901234567890.10,"e":-1E+400}`},
		{`{"b":1,"a":2,"b":3}`, `{"b":1,"a":2,"b":3}`},
		{`{"t":"a<b>&\u0041\n\/é专🔋\ud83d"}`, `{"t":"a<b>&\u0041\n\/é专🔋\ud83d"}`},
		{"{\"a\":\r\n 1,\n\"b\":\"x y\"}", `{"a":1,"b":"x y"}`}, // a request may have several lines, a results line may not
		{`null`, `null`},
	} {
		_, result, line := resultLine(t, `{"key":"k","upstream":"u","path":"/s","meta":`+test.meta+`}`)
		if !strings.Contains(line, `,"meta":`+test.want+`,"body"`) || strings.Count(line, "\n") != 1 {
			t.Errorf("%s: got the results line %s", test.meta, line)
		}
		for back, err := range tasks.ReadResults(strings.NewReader(line)) {
			if err != nil || !bytes.Equal(back.Meta, result.Meta) {
				t.Errorf("%s was read as %s, %v", line, back.Meta, err)
			}
		}
	}
	if _, _, line := resultLine(t, `{"key":"k","upstream":"u","path":"/s"}`); !strings.Contains(line, `,"meta":null,"body"`) {
		t.Errorf("without meta: %s", line)
	}
}

func TestMetaChangesNothingButTheResult(t *testing.T) {
	bare, _, _ := resultLine(t, `{"key":"k","upstream":"u","method":"POST","path":"/s","body":{"a":1}}`)
	call, _, _ := resultLine(t, `{"key":"k","upstream":"u","method":"POST","path":"/s","body":{"a":1},"meta":{"row":17}}`)
	if tasks.ContentHash(call) != tasks.ContentHash(bare) {
		t.Error("meta is part of the digest")
	}
	call.Meta = nil
	if !reflect.DeepEqual(call, bare) {
		t.Errorf("meta changed the call to %#v", call)
	}
}

func TestMetaIsAnObjectOfBoundedSize(t *testing.T) {
	most := `{"a":"` + strings.Repeat("x", 64<<10-8) + `"}`
	for _, test := range []struct{ meta, says string }{
		{most, ""},
		{most[:len(most)-2] + `y"}`, "65537 bytes; at most 65536 are allowed"},
		{`[]`, "must be an object, got an array"},
		{`"text"`, "must be an object, got a string"},
		{`17`, "must be an object, got a number"},
		{`true`, "must be an object, got a bool"},
	} {
		_, err := tasks.ParseCall([]byte(`{"path":"/s","meta":` + test.meta + `}`))
		var bad *tasks.FieldError
		switch {
		case test.says == "" && err != nil:
			t.Errorf("%.40s: %v", test.meta, err)
		case test.says != "" && (!errors.As(err, &bad) || bad.Field != "meta" || !strings.Contains(bad.Error(), test.says)):
			t.Errorf("%.40s: %v", test.meta, err)
		}
		// A call that is made in Go is checked in the same way.
		_, err = tasks.Rules{}.Check(tasks.Call{Key: "k", Upstream: "u", Path: "/s", Meta: json.RawMessage(test.meta)})
		if (err == nil) != (test.says == "") {
			t.Errorf("Check(%.40s): %v", test.meta, err)
		}
	}
}

func TestAResultsLineIsReadWithAnyMeta(t *testing.T) {
	// A finished call must not be made again because the line has another value there.
	for _, meta := range []string{`[1, 2]`, `"x"`, `17`} {
		for r, err := range tasks.ReadResults(strings.NewReader(`{"key":"k","state":"done","meta":` + meta + "}\n")) {
			if err != nil || string(r.Meta) != meta {
				t.Errorf("%s: %s, %v", meta, r.Meta, err)
			}
			if line, err := tasks.EncodeResult(nil, r); err != nil || !bytes.Contains(line, []byte(`"meta":`+meta)) {
				t.Errorf("%s: rewritten as %s, %v", meta, line, err)
			}
		}
	}
}

func TestAKeyMayBeANumberAndIsKeptAsText(t *testing.T) {
	for _, test := range []struct{ key, want, says string }{
		{`17`, "17", ""},
		{`-0`, "-0", ""},
		{`1.50`, "1.50", ""},
		{`1E+3`, "1E+3", ""},
		{`12345678901234567890123`, "12345678901234567890123", ""},
		{`"017"`, "017", ""},
		{`null`, "", ""},
		{`true`, "", "must be a string or a number, got a bool"},
		{`[1]`, "", "must be a string or a number, got an array"},
		{`{"a":1}`, "", "must be a string or a number, got an object"},
	} {
		call, err := tasks.ParseCall([]byte(`{"path":"/s","key":` + test.key + `}`))
		var bad *tasks.FieldError
		switch {
		case test.says == "" && (err != nil || call.Key != test.want):
			t.Errorf("%s: %q, %v", test.key, call.Key, err)
		case test.says != "" && (!errors.As(err, &bad) || bad.Field != "key" || !strings.Contains(bad.Error(), test.says)):
			t.Errorf("%s: %v", test.key, err)
		}
	}
}

func TestNullInAQueryLeavesTheParameterOut(t *testing.T) {
	for _, test := range []struct{ query, want string }{
		{`{"a":null}`, ""},
		{`{"a":null,"b":1,"c":null}`, "b=1"},
		{`{"a":[1,null,2]}`, "a=1&a=2"},
		{`{"a":[null]}`, ""},
		{`{"a":"null"}`, "a=null"},
		{`{"a":""}`, "a="},
		{`{"a":false,"b":0}`, "a=false&b=0"},
	} {
		call, _, _ := resultLine(t, `{"key":"k","upstream":"u","path":"/s","query":`+test.query+`}`)
		if got, err := call.URLQuery(); err != nil || got != test.want {
			t.Errorf("%s: %q, %v", test.query, got, err)
		}
	}
	if _, err := tasks.ParseCall([]byte(`{"path":"/s","query":{"a":null,"a":1}}`)); err == nil || !strings.Contains(err.Error(), "twice") {
		t.Errorf("null hides a duplicate name: got %v", err)
	}
	// Go code may leave a parameter out in the same way; its map is not changed.
	query := tasks.Query{"a": nil, "b": []any{nil, "x", nil, 2}, "c": true}
	raw := tasks.Call{Key: "k", Upstream: "u", Path: "/s", Query: query}
	call, err := tasks.Rules{}.Check(raw)
	if err != nil || !reflect.DeepEqual(call.Query, tasks.Query{"b": []any{"x", json.Number("2")}, "c": true}) {
		t.Errorf("got %#v, %v", call.Query, err)
	}
	if tasks.ContentHash(raw) != tasks.ContentHash(call) || len(query) != 3 || len(query["b"].([]any)) != 4 {
		t.Errorf("the hash differs, or the caller's map changed: %#v", query)
	}
}
