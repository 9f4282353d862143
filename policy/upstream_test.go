package policy

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

const defaultsOfAnAPI = `upstream:
  base_url: https://api.example.com/v1
  idempotent: ["GET *", "POST /search/*"]
  idempotency_header: Idempotency-Key
  headers: {X-Version: "2", Accept: text/plain}
`

func TestAPolicyGivesUpstreamDefaultsAndTheirPlaces(t *testing.T) {
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
		t.Errorf("got the places %v", u.at)
	}
	shown := string(p.YAML())
	for _, want := range []string{"  # from base.yaml:2\n  base_url: \"https://api.example.com/v1\"\n", "  # from top.yaml:3\n  idempotent: []\n"} {
		if !strings.Contains(shown, want) {
			t.Errorf("%q is missing:\n%s", want, shown)
		}
	}
	again := parse(t, shown).Upstream()
	if u.at, again.at = nil, nil; !reflect.DeepEqual(again, u) {
		t.Errorf("the printed policy parses to %+v, want %+v", again, u)
	}
}

func TestThePatsnapPresetTreatsPostedSearchesAsIdempotent(t *testing.T) {
	got := preset(t, "patsnap").Upstream().Idempotent
	if want := []string{"GET *", "HEAD *", "OPTIONS *", "PUT *", "DELETE *", "POST /search/*"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %q", got)
	}
	if u := preset(t, "http").Upstream(); u.Idempotent != nil || u.BaseURL != "" {
		t.Errorf("http has the defaults %+v, want none", u)
	}
}

func TestEachErrorInUpstreamDefaultsNamesItsPlace(t *testing.T) {
	for text, want := range map[string]string{
		"upstream: {base_uri: x}":                                   `my.yaml:1:12: unknown key "base_uri" in upstream`,
		"upstream: [x]":                                             "my.yaml:1:11: upstream must be a mapping of keys and values, got a list",
		"upstream:\n  base_url: api.example.com":                    "my.yaml:2:13: upstream.base_url is not an absolute URL",
		"upstream:\n  base_url: ftp://api.example.com":              "my.yaml:2:13: upstream.base_url is a URL with the scheme ftp://",
		"upstream:\n  base_url: https://u:p@api.example.com":        "my.yaml:2:13: upstream.base_url contains a user name or password",
		"upstream:\n  base_url: https://api.example.com?a=b":        "my.yaml:2:13: upstream.base_url contains a query",
		"upstream:\n  base_url: https://api.example.com/a/../b":     "my.yaml:2:13: upstream.base_url contains a .. in its path",
		"upstream:\n  idempotent: GET *":                            "my.yaml:2:15: upstream.idempotent must be a list, got a string",
		"upstream:\n  idempotent: [\"get *\"]":                      `my.yaml:2:16: upstream.idempotent[0]: "get *" has a method that is not in upper case`,
		"upstream:\n  idempotent: [\"GET\"]":                        `my.yaml:2:16: upstream.idempotent[0]: "GET" is not "METHOD /path/*"`,
		"upstream:\n  idempotency_header: \"a b\"":                  `my.yaml:2:23: upstream.idempotency_header is "a b", which is not a header that can be sent`,
		"upstream:\n  idempotency_header: Content-Length":           `my.yaml:2:23: upstream.idempotency_header is "Content-Length", which is not a header that can be sent`,
		"upstream:\n  headers: {Authorization: x}":                  "my.yaml:2:13: upstream.headers.Authorization cannot be a default: it is a credential, belongs to one call, or is set by the HTTP client",
		"upstream:\n  headers: {Proxy-Authorization: x}":            "my.yaml:2:13: upstream.headers.Proxy-Authorization cannot be a default: it is a credential, belongs to one call, or is set by the HTTP client",
		"upstream:\n  headers: {\"X A\": x}":                        `my.yaml:2:13: upstream.headers."X A" is not a header name`,
		"upstream:\n  headers: {X-A: \"a\\nb\"}":                    "my.yaml:2:18: upstream.headers.X-A contains a line break or another control character",
		"upstream:\n  headers: {X-A: \"${env:KEY}\"}":               "my.yaml:2:18: upstream.headers.X-A contains a ${…} reference",
		"upstream:\n  headers:\n    X-A: b\n    x-a: c":             "my.yaml:4:5: upstream.headers.x-a is the same header as X-A",
		"upstream:\n  headers: {X-A: [5]}":                          "my.yaml:2:18: upstream.headers.X-A must be a string, got a list",
		"upstream:\n  base_url: https://a.b\n  base_url: https://c": `my.yaml:3:3: `,
	} {
		_, err := Parse("my.yaml", []byte(text))
		var findings yamlfile.Errors
		if !errors.As(err, &findings) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
