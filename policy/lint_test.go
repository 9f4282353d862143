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
		`read: {code: ["error.code"]}`:                                             `my.yaml:2:15: read.code[0] "error.code": not a place; write "header NAME", body, or a JSONPath`,
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
		`read: {code: [{from: body, find: "<c>("}]}`:                               `my.yaml:2:34: read.code[0].find is not a regular expression (RE2)`,
		`read: {code: ["$.a", {from: body, find: "<c>"}]}`:                         `my.yaml:2:41: read.code[1].find has no group; put the part that is to be read into parentheses`,
		`read: {code: [{from: body}]}`:                                             `my.yaml:2:15: read.code[0] needs from, a place, and find`,
		`read: {code: [{find: "(a)"}]}`:                                            `my.yaml:2:15: read.code[0] needs from, a place, and find`,
		`read: {code: [{from: bdy, find: "(a)"}]}`:                                 `my.yaml:2:22: read.code[0].from "bdy": not a place; write "header NAME", body`,
		`read: {code: [{from: body, fnd: "(a)"}]}`:                                 `my.yaml:2:28: unknown key "fnd" in read.code[0]; did you mean "find"?`,
		`rules: [{id: a, match: {where: {body: "("}}}]`:                            `my.yaml:2:39: rules[0].match.where.body is not a regular expression`,
		`holds: {quota: {sources: [{from: body, find: "a"}]}}`:                     `my.yaml:2:27: holds.quota.sources[0] has a find without a group`,
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

func TestLintNotesAFilterThatSelectsWhatHasNoMember(t *testing.T) {
	for place, noted := range map[string]bool{
		"$[?@.verdict != 'FINE']":                   true,
		"$.outcomes[?@['verdict'] != 'FINE']":       true,
		"$..[?@.verdict != 'FINE']":                 true,
		"$[?@.a == 1 || @.verdict != 'FINE']":       true,
		"$[?@.verdict && @.verdict != 'FINE']":      false,
		"$[?@.verdict == 'NO']":                     false,
		"$[?@.verdict != 'FINE'].verdict":           false, // a number has no member after it
		"$.list[?@ != 'FINE']":                      false, // the value itself
		"$.list[?@.name == '!=']":                   false,
		"$.a[?@.b != 'c' && @.b != 'd' && @.b > 0]": false,
		"$.outcome.verdict":                         false,
		"header x-verdict":                          false,
	} {
		findings, err := Lint(fstest.MapFS{"my.yaml": {Data: []byte("extends: http\nrules:\n  - {id: a, match: {where: {\"" + place + "\": present}}}\n")}}, "my.yaml")
		if err != nil || (len(findings) == 1) != noted {
			t.Errorf("%s: got %v %v, want a note: %v", place, findings, err, noted)
			continue
		}
		if noted && (findings[0].Line != 3 || findings[0].Column != 29 || !strings.Contains(findings[0].Error(), "also selects values without that member")) {
			t.Errorf("%s: got %v", place, findings)
		}
	}
}
