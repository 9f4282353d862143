package tasks_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"pgregory.net/rapid"
)

func TestTheFormOfABodyDecidesItsBytesAndContentType(t *testing.T) {
	for _, test := range []struct{ body, header, data, contentType string }{
		{``, "", "", ""},
		{`null`, "", "", ""},
		{` null `, "x/y", "", ""},
		{`"a\nb"`, "", "a\nb", "text/plain; charset=utf-8"},
		{`"a,b"`, "text/csv", "a,b", "text/csv"},
		{`""`, "", "", "text/plain; charset=utf-8"},
		{`{"base64":"AAH/","content_type":"image/png"}`, "", "\x00\x01\xff", "image/png"},
		{`{"content_type":"image/png","base64":"AAH/"}`, "image/webp", "\x00\x01\xff", "image/webp"},
		{`{"base64":"","content_type":null}`, "", "", "application/octet-stream"},
		{`{"base64":"AA=="}`, "", `{"base64":"AA=="}`, "application/json"},
		{`{"base64":"AA==","content_type":"a","x":1}`, "", `{"base64":"AA==","content_type":"a","x":1}`, "application/json"},
		{`{ "n": 1.50, "id": 12345678901234567890 }`, "", `{"n":1.50,"id":12345678901234567890}`, "application/json"},
		{`[1]`, "application/vnd.api+json", `[1]`, "application/vnd.api+json"},
		{`7`, "", `7`, "application/json"},
		{`false`, "", `false`, "application/json"},
		{`"\u2028<"`, "", "\u2028<", "text/plain; charset=utf-8"},
	} {
		call := tasks.Call{Body: json.RawMessage(test.body)}
		if test.header != "" {
			call.Headers = map[string]string{"content-type": test.header}
		}
		data, contentType, err := call.RequestBody()
		if err != nil || string(data) != test.data || contentType != test.contentType {
			t.Errorf("%s: %q, %q, %v", test.body, data, contentType, err)
		}
		if none := strings.TrimSpace(test.body); (data == nil) != (none == "" || none == "null") {
			t.Errorf("%s: nil means no body, got %#v", test.body, data)
		}
	}
}

func TestQueryIsAddedToTheQueryInThePath(t *testing.T) {
	for _, test := range []struct {
		path  string
		query tasks.Query
		want  string
	}{
		{"/s", nil, ""},
		{"/s?", nil, ""},
		{"/s?b=2&a=1", nil, "b=2&a=1"},
		{"/s?b=2", tasks.Query{"a": "1"}, "b=2&a=1"},
		{"/s?a=1", tasks.Query{"a": "2"}, "a=1&a=2"},
		{"/s", tasks.Query{"z": "1", "a": []any{"y", json.Number("1.50"), true}}, "a=y&a=1.50&a=true&z=1"},
		{"/s", tasks.Query{"n": json.Number("12345678901234567890123"), "e": json.Number("1E+2")}, "e=1E%2B2&n=12345678901234567890123"},
		{"/s", tasks.Query{"q": "solar cell & more=+%/?é"}, "q=solar%20cell%20%26%20more%3D%2B%25%2F%3F%C3%A9"},
		{"/s?q=solar cell\"é&x=%20+", nil, "q=solar%20cell%22%C3%A9&x=%20+"},
		{"/s", tasks.Query{"none": []any{}}, ""},
		{"/s", tasks.Query{"i": 7, "u": uint8(8), "f": 0.25, "l": []int{1, 2}, "s": []string{"x"}}, "f=0.25&i=7&l=1&l=2&s=x&u=8"},
	} {
		got, err := tasks.Call{Path: test.path, Query: test.query}.URLQuery()
		if err != nil || got != test.want {
			t.Errorf("%s + %v: %q, %v\nwant %q", test.path, test.query, got, err, test.want)
		}
	}
}

func TestThePathIsEncodedOnce(t *testing.T) {
	for path, want := range map[string]string{
		"/": "/", "/a b": "/a%20b", "/a%20b": "/a%20b", "/专": "/%E4%B8%93", "/a?b": "/a", `/a"<>\^{}|`: "/a%22%3C%3E%5C%5E%7B%7D%7C", "/a;b=c,d:@": "/a;b=c,d:@",
		"/a%2fb": "/a%2fb",
	} {
		if got, err := (tasks.Call{Path: path}).URLPath(); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
	for _, path := range []string{"", "a", "//h", "http://h", "/../a", "/%2e%2e"} {
		if got, err := (tasks.Call{Path: path}).URLPath(); err == nil {
			t.Errorf("%q: %q", path, got)
		}
	}
}

// TestNoPathLeavesItsUpstream parses with net/url, as the worker's client does, to find
// where a call is sent.
func TestNoPathLeavesItsUpstream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		path := rapid.StringMatching(`/?([a.:@/\\;?#%]|%2[eEfF]|%5c|\.\.|é| ){0,12}`).Draw(t, "path")
		call := tasks.Call{Path: path, Query: tasks.Query{"q": rapid.String().Draw(t, "q")}}
		encoded, err := call.URLPath()
		if err != nil {
			return
		}
		query, err := call.URLQuery()
		if err != nil {
			return
		}
		u, err := url.Parse("https://api.example/v1" + encoded + "?" + query)
		if err != nil {
			t.Fatalf("%q gave a URL that does not parse: %v", path, err)
		}
		if u.Host != "api.example" || u.User != nil || u.Fragment != "" || !strings.HasPrefix(u.JoinPath().Path, "/v1") || u.EscapedPath() != "/v1"+encoded {
			t.Fatalf("%q is sent to %s", path, u)
		}
		if values, err := url.ParseQuery(query); err == nil && len(values["q"]) > 0 && values["q"][len(values["q"])-1] != call.Query["q"] {
			t.Fatalf("%q was decoded as %q", call.Query["q"], values["q"])
		}
	})
}

func ExampleCall_URLQuery() {
	call := tasks.Call{Path: "/search?lang=en", Query: tasks.Query{"q": "solar cell", "year": []int{2024, 2025}}}
	query, err := call.URLQuery()
	fmt.Println(query, err)
	// Output: lang=en&q=solar%20cell&year=2024&year=2025 <nil>
}

func ExampleCall_RequestBody() {
	for _, body := range []string{`{"q": "solar", "id": 12345678901234567890}`, `"a,b"`, `{"base64":"aGk=","content_type":"image/png"}`} {
		data, contentType, err := tasks.Call{Body: json.RawMessage(body)}.RequestBody()
		fmt.Printf("%s | %s | %v\n", contentType, data, err)
	}
	// Output:
	// application/json | {"q":"solar","id":12345678901234567890} | <nil>
	// text/plain; charset=utf-8 | a,b | <nil>
	// image/png | hi | <nil>
}
