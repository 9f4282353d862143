package policy

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestLintNamesMisspeltPlacesAndFormatsWithLineAndColumn(t *testing.T) {
	for text, want := range map[string]string{
		// Columns are those of the character at which a JSONPath is wrong.
		`read: {code: ["$.error.[code"]}`:                                          `my.yaml:2:24: read.code[0] "$.error.[code": is not a JSONPath (RFC 9535)`,
		`read: {code: [$.error.[code]}`:                                            `my.yaml:2:23: this is not valid YAML`,
		`read: {code: ["$.a", '$.b..']}`:                                           `my.yaml:2:28: read.code[1] "$.b..": is not a JSONPath (RFC 9535)`,
		`read: {code: ["$.a\u002e["]}`:                                             `my.yaml:2:15: read.code[0] "$.a.[": is not a JSONPath`,
		`read: {code: ["error.code"]}`:                                             `my.yaml:2:15: read.code[0] "error.code": not a place; write "header NAME" or a JSONPath`,
		`read: {code: ["headers x-a"]}`:                                            `my.yaml:2:15: read.code[0] "headers x-a": not a place; write "header NAME"`,
		`read: {message: ["header x a"]}`:                                          `my.yaml:2:18: read.message[0] "header x a": "x a" is not a header name`,
		`read: {massage: ["$.a"]}`:                                                 `my.yaml:2:8: unknown key "massage" in read; did you mean "message"?`,
		`read: {ok: "$.a"}`:                                                        `my.yaml:2:12: read.ok must be a list, got a string`,
		`read: {code: ["$..a..b"]}`:                                                `my.yaml:2:15: read.code[0] "$..a..b": has .. more than once`,
		`rules: [{id: a, match: {where: {"$.a[": present}}}]`:                      `my.yaml:2:38: rules[0].match.where."$.a[" is not a JSONPath (RFC 9535)`,
		`rules: [{id: a, match: {where: {"a.b": present}}}]`:                       `my.yaml:2:33: rules[0].match.where.a.b is wrong: not a place`,
		`rules: [{id: a, match: {where: {"$.a": "("}}}]`:                           `my.yaml:2:40: rules[0].match.where."$.a" is not a regular expression`,
		`holds: {quota: {sources: [{from: "$.a", format: milliscond}]}}`:           `my.yaml:2:49: holds.quota.sources[0].format is "milliscond"; write one of seconds, milliseconds, duration`,
		`holds: {quota: {sources: [{frm: "$.a"}]}}`:                                `my.yaml:2:28: unknown key "frm" in holds.quota.sources[0]; did you mean "from"?`,
		`holds: {quota: {sources: [retry-afetr]}}`:                                 `my.yaml:2:27: holds.quota.sources[0] is "retry-afetr"; write one of retry-after`,
		`backoffs: {standard: {sources: [{from: "$.a", format: second}]}}`:         `my.yaml:2:55: backoffs.standard.sources[0].format is "second"`,
		`pace: [{remaining: "header x-left", reset: {from: "$.a", format: epoc}}]`: `my.yaml:2:66: pace[0].reset.format is "epoc"`,
		`pace: [{remaining: "x-left", reset: {from: "$.a"}}]`:                      `my.yaml:2:20: pace[0].remaining "x-left": not a place; write "header NAME"`,
		"rules:\n  - {id: a, match: {code: [1, 2]}, job: drop}\n  - {id: b, match: {code: [2], where: {\"$.a\": present}}, job: drop}":               `my.yaml:4:5: rule "b" is never reached: rule "a" on line 3`,
		"rules:\n  - {id: a, match: {where: {\"$.a\": present}}, job: drop}\n  - {id: b, match: {where: {\"$.a\": present, \"$.b\": x}}, job: drop}": `my.yaml:4:5: rule "b" is never reached`,
	} {
		findings, err := Lint(fstest.MapFS{"my.yaml": {Data: []byte("extends: http\n" + text + "\n")}}, "my.yaml")
		if err != nil || len(findings) == 0 || !strings.Contains(findings.Error(), want) {
			t.Errorf("%s:\n got %v %v\nwant %s", text, findings, err, want)
		}
	}
}
