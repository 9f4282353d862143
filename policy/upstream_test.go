package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"
)

const defaultsOfAnAPI = `upstream:
  base_url: https://api.example.com/v1
  idempotent: ["GET *", "POST /search/*"]
  idempotency_header: Idempotency-Key
  headers: {X-Version: "2", Accept: text/plain}
`

func TestAPolicyGivesTheDefaultsOfItsUpstreamsAndWhereTheyAreWritten(t *testing.T) {
	u := parse(t, defaultsOfAnAPI).Upstream()
	if u.BaseURL != "https://api.example.com/v1" || !reflect.DeepEqual(u.Idempotent, []string{"GET *", "POST /search/*"}) ||
		u.IdempotencyHeader != "Idempotency-Key" || !reflect.DeepEqual(u.Headers, map[string]string{"X-Version": "2", "Accept": "text/plain"}) {
		t.Errorf("got %+v", u)
	}
	for key, line := range map[string]int{"base_url": 2, "idempotent": 3, "idempotency_header": 4, "headers.Accept": 5} {
		if got, want := u.Where(key), fmt.Sprintf("my.yaml:%d", line); got != want {
			t.Errorf("%s is at %s, want %s", key, got, want)
		}
	}
	u.Headers["X-Version"], u.Idempotent[0] = "changed", "changed"
	if again := parse(t, defaultsOfAnAPI).Upstream(); again.Headers["X-Version"] != "2" || u.Where("nothing") != "" {
		t.Errorf("got %+v", again)
	}
}

func TestAFileThatExtendsAnotherReplacesItsDefaultsKeyByKey(t *testing.T) {
	files := fstest.MapFS{
		"base.yaml":  {Data: []byte(defaultsOfAnAPI)},
		"top.yaml":   {Data: []byte("extends: ./base.yaml\nupstream:\n  idempotent: []\n  headers: {x-version: \"3\"}\n")},
		"leave.yaml": {Data: []byte("extends: ./top.yaml\n")},
	}
	p, err := Load(files, "leave.yaml")
	if err != nil {
		t.Fatal(err)
	}
	u := p.Upstream()
	if u.BaseURL != "https://api.example.com/v1" || u.Idempotent == nil || len(u.Idempotent) != 0 ||
		!reflect.DeepEqual(u.Headers, map[string]string{"x-version": "3", "Accept": "text/plain"}) {
		t.Errorf("got %+v", u)
	}
	if u.Where("idempotent") != "top.yaml:3" || u.Where("base_url") != "base.yaml:2" || u.Where("headers.X-Version") != "" {
		t.Errorf("they are said to be at %v", u.at)
	}
	shown := string(p.YAML())
	for _, want := range []string{"  # from base.yaml:2\n  base_url: \"https://api.example.com/v1\"\n", "  # from top.yaml:3\n  idempotent: []\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("it does not show %q:\n%s", want, shown)
		}
	}
	again := parse(t, shown).Upstream()
	if u.at, again.at = nil, nil; !reflect.DeepEqual(again, u) {
		t.Errorf("what is shown reads as %+v, want %+v", again, u)
	}
}

func TestSearchesArePostedAndIdempotentInThePresetOfPatsnap(t *testing.T) {
	got := preset(t, "patsnap").Upstream().Idempotent
	if want := []string{"GET *", "HEAD *", "OPTIONS *", "PUT *", "DELETE *", "POST /search/*"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if u := preset(t, "http").Upstream(); u.Idempotent != nil || u.BaseURL != "" {
		t.Errorf("http says %+v", u)
	}
}

func TestWhatIsWrongWithTheDefaultsOfUpstreamsIsNamedByPlace(t *testing.T) {
	for text, want := range map[string]string{
		"upstream: {base_uri: x}":                                   `my.yaml:1:12: upstream has no key "base_uri"`,
		"upstream: [x]":                                             "my.yaml:1:11: upstream is a mapping",
		"upstream:\n  base_url: api.example.com":                    "my.yaml:2:13: base_url is no absolute URL",
		"upstream:\n  base_url: ftp://api.example.com":              "my.yaml:2:13: base_url is no absolute URL",
		"upstream:\n  base_url: https://u:p@api.example.com":        "my.yaml:2:13: base_url holds a user name",
		"upstream:\n  base_url: https://api.example.com?a=b":        "my.yaml:2:13: base_url holds a query",
		"upstream:\n  base_url: https://api.example.com/a/../b":     "my.yaml:2:13: base_url holds a ..",
		"upstream:\n  idempotent: GET *":                            "my.yaml:2:15: idempotent is a list",
		"upstream:\n  idempotent: [\"get *\"]":                      "my.yaml:2:16: idempotent: \"get *\": the method",
		"upstream:\n  idempotent: [\"GET\"]":                        "my.yaml:2:16: idempotent: \"GET\"",
		"upstream:\n  idempotency_header: \"a b\"":                  "my.yaml:2:23: idempotency_header \"a b\"",
		"upstream:\n  idempotency_header: Content-Length":           "my.yaml:2:23: idempotency_header \"Content-Length\"",
		"upstream:\n  headers: {Authorization: x}":                  "my.yaml:2:13: Authorization cannot be a default",
		"upstream:\n  headers: {Proxy-Authorization: x}":            "my.yaml:2:13: Proxy-Authorization cannot be a default",
		"upstream:\n  headers: {\"X A\": x}":                        "my.yaml:2:13: \"X A\" is no name of a header",
		"upstream:\n  headers: {X-A: \"a\\nb\"}":                    "my.yaml:2:18: the value of X-A holds a line break",
		"upstream:\n  headers: {X-A: \"${env:KEY}\"}":               "my.yaml:2:18: the value of X-A holds a ${…} reference",
		"upstream:\n  headers:\n    X-A: b\n    x-a: c":             "my.yaml:4:5: x-a is the same header as X-A",
		"upstream:\n  headers: {X-A: 5}":                            "my.yaml:2:18: the value of X-A is a text",
		"upstream:\n  base_url: https://a.b\n  base_url: https://c": `my.yaml:3:3: `,
	} {
		_, err := Parse("my.yaml", []byte(text))
		var findings Errors
		if !errors.As(err, &findings) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
