package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anyMatch generates the match of a rule, as YAML.
func anyMatch() *rapid.Generator[string] {
	lists := map[string][]string{
		"code": {"none", "any", "67200001", "68300008", "0"}, "http": {`"2xx"`, "200", "200-204", "5xx", "503"},
		"transport": {"dns", "dial"}, "body": {"html", "cut", "envelope"},
		"endpoint": {`"GET /a/*"`, `"* /upload/*"`, `"POST /upload/*"`, `"GET *"`},
	}
	single := map[string][]string{
		"status_flag": {`"true"`, `"false"`, "absent"}, "idempotent": {"true", "false"},
		"conditional": {"true", "false"}, "limit_used_up": {"true", "false"}, "message": {"limit", "maintenance"},
		"where":  {`{"$.a": present}`, `{"$.a": absent}`, `{body: busy}`, `{body: absent}`, `{"$.a": "^b"}`, `{"$.a": "^b", "header x-reason": absent}`},
		"header": {"{X-Reason: maintenance}", "{X-Reason: maintenance, X-Other: a}"},
	}
	return rapid.Custom(func(t *rapid.T) string {
		var parts []string
		for _, name := range fieldNames {
			if rapid.IntRange(0, 5).Draw(t, name) > 0 {
				continue
			}
			if values, ok := lists[name]; ok {
				chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(values), 1, len(values), rapid.ID).Draw(t, name)
				parts = append(parts, name+": "+flow(chosen))
			} else {
				parts = append(parts, name+": "+rapid.SampledFrom(single[name]).Draw(t, name))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}"
	})
}

func TestACoveredRuleIsNeverReached(t *testing.T) {
	covered := 0
	rapid.Check(t, func(t *rapid.T) {
		ms := anyMatch().Draw(t, "first")
		f := readFile("my.yaml", fmt.Appendf(nil, "rules:\n  - {id: a, match: %s}\n  - {id: b, match: %s}\n", ms, anyMatch().Draw(t, "second")))
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		first, second := &f.rules[0].match, &f.rules[1].match
		if !first.covers(first) {
			t.Fatalf("%s does not cover itself", ms)
		}
		if !first.covers(second) {
			return
		}
		covered++
		for range 20 {
			o, a := anyOutcome().Draw(t, "outcome"), anyAttempt().Draw(t, "attempt")
			in := newInput(&o, &a)
			if second.miss(&in) == 0 && first.miss(&in) != 0 {
				t.Fatalf("covers says that %s covers %s, but it does not match %+v", ms, second.yaml(), in)
			}
		}
	})
	if covered == 0 {
		t.Error("no pair was covered: the test proves nothing")
	}
}

func TestRulesWithDifferentPatternsForOneHeaderAreAllReached(t *testing.T) {
	p := parse(t, "rules:\n  - {id: a, match: {header: {X-Reason: ^quota}}}\n  - {id: b, match: {header: {X-Reason: ^load}}}\n")
	for value, want := range map[string]string{"quota used up": "a", "load": "b"} {
		if got := p.Decide(Outcome{Status: 503, Header: headers("X-Reason", value)}, Attempt{}).Rule; got != want {
			t.Errorf("%q is matched by rule %q, want %q", value, got, want)
		}
	}
}

func TestEveryFieldIsMatchedOnItsOwn(t *testing.T) {
	o := Outcome{
		Status: 503, Body: BodyHTML, Flag: FlagFalse, Code: "123", Message: "Down for Maintenance",
		Header: headers("x-reason", "planned", "X-Reason", "maintenance", "X-RateLimit-Remaining", "0"),
	}
	a := Attempt{Method: "POST", Endpoint: "POST /upload/*", Idempotent: true, Conditional: true}
	for match, want := range map[string]bool{
		`{code: [123]}`: true, `{code: [123.0]}`: true, `{code: ["123"]}`: true, `{code: [none, 124]}`: false,
		`{http: [503]}`: true, `{http: ["503"]}`: true, `{http: [5xx]}`: true, `{http: ["500-503"]}`: true, `{http: ["500 - 502", 504]}`: false,
		`{transport: [dns]}`: false, `{body: [cut, html]}`: true, `{body: [cut]}`: false,
		`{status_flag: "false"}`: true, `{status_flag: false}`: true, `{status_flag: absent}`: false,
		`{code: [any]}`: true, `{code: [any, none]}`: true,
		`{message: "(?i)maintenance"}`: true, `{message: "maintenance"}`: false,
		`{endpoint: ["POST /upload/*"]}`: true, `{endpoint: ["* /up*"]}`: true, `{endpoint: ["POST *"]}`: true,
		`{endpoint: ["GET /upload/*", "POST /uploads/*"]}`: false,
		`{header: {x-reason: ^main}}`:                      true, `{header: {X-Reason: ^maint, X-Other: ""}}`: false,
		`{idempotent: true}`: true, `{idempotent: false}`: false, `{conditional: true}`: true, `{conditional: false}`: false,
		`{limit_used_up: true}`: true, `{limit_used_up: false}`: false,
		`{code: [123], http: [503], idempotent: false}`: false, `{}`: true,
	} {
		p := parse(t, "rules:\n  - {id: a, match: "+match+"}\n")
		if got := p.Decide(o, a).Rule == "a"; got != want {
			t.Errorf("%s: got %v, want %v", match, got, want)
		}
	}
}

func TestAnAttemptWithoutAnAnswerMatchesNoAnswerField(t *testing.T) {
	p := preset(t, "patsnap")
	d := p.Decide(Outcome{Transport: TransportTooLarge, Status: 200, Flag: FlagTrue, Code: "67200001"}, Attempt{})
	if d.Class != ClassConfig || d.Action != ActionDeadLetter || d.Circuit.Success {
		t.Errorf("got %+v", d)
	}
}

func TestAStarCrossesSlashes(t *testing.T) {
	for _, c := range []struct {
		pattern, endpoint string
		want              bool
	}{
		{"GET /patent/*", "GET /patent/a/b/c", true},
		{"GET /patent/*", "GET /patent/", true},
		{"GET /patent/*", "GET /patent", false},
		{"GET /patent/*", "POST /patent/a", false},
		{"GET /patent/*", "GET /patent/*", true},
		{"GET /a/*/c", "GET /a/b/x/c", true},
		{"GET /a/*/c", "GET /a/b/x/d", false},
		{"GET /a*a*a", "GET /aaaa", true},
		{"GET /a*a*a", "GET /aa", false},
		{"* /upload", "DELETE /upload", true},
		{"* /upload", "DELETE /x /upload", false},
		{"GET *", "GET ", true},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatal(err)
		}
		method, path := splitEndpoint(&Attempt{Endpoint: c.endpoint})
		if got := p.Match(method, path); got != c.want {
			t.Errorf("%s, %s: got %v", c.pattern, c.endpoint, got)
		}
	}
	if method, path := splitEndpoint(&Attempt{Method: "PUT", Endpoint: "/a"}); method != "PUT" || path != "/a" {
		t.Errorf("an endpoint without a method: got %s %s", method, path)
	}
}

func TestCanonicalCode(t *testing.T) {
	for in, want := range map[string]string{
		"67200001": "67200001", "67200001.0": "67200001", "67200001.": "67200001", "067200001": "67200001", "6.7200001e7": "67200001",
		"6.7200001E+07": "67200001", "672000010e-1": "67200001", " 67200001\n": "67200001", "+67200001": "67200001",
		"-5": "-5", "-05.10": "-5.1", "1.50": "1.5", "0.5": "0.5", ".5": "0.5", "5e-3": "0.005", "15e-1": "1.5", "12e3": "12000",
		"0": "", "-0": "", "0.000": "", "0e999999999999": "", "": "", " ": "",
		"E1001": "E1001", "1e": "1e", "1e+-5": "1e+-5", "1.2.3": "1.2.3", "-": "-", ".": ".", "1 2": "1 2", "0x10": "0x10",
		"1e999999999999999999": "1e999999999999999999", "1e-999999999999999999": "1e-999999999999999999", "1e65": "1e65",
		"123456789012345678901234567890": "123456789012345678901234567890",
	} {
		if got := CanonicalCode(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func FuzzCanonicalCode(f *testing.F) {
	for _, s := range []string{"67200001", "6.72e7", "-0.0", "1e64", "1e-64", "abc", "00", ".5e1", "9e99999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code := CanonicalCode(s)
		if again := CanonicalCode(code); again != code {
			t.Fatalf("%q became %q, which became %q", s, code, again)
		}
	})
}

func TestTheCodeAnyIsForEveryCodeThatNoRuleBeforeNames(t *testing.T) {
	p := parse(t, `
extends: http
read: {code: ["$.verdict"]}
rules:
  - {id: fine, match: {code: [FINE]}, job: succeed}
  - {id: other, match: {code: [any]}, job: dead_letter}
`)
	for body, want := range map[string]string{
		`{"verdict": "FINE"}`: "fine", `{"verdict": "WOBBLE"}`: "other", `{"verdict": 7}`: "other", `{"verdict": "any"}`: "other",
		`{"verdict": 0}`: "ok", `{"verdict": null}`: "ok", `{"height": 3.25}`: "ok", "": "ok",
	} {
		if d := p.Decide(p.ReadAnswer(Response{Status: 200, Body: []byte(body)}), Attempt{}); d.Rule != want {
			t.Errorf("%s: got rule %s, want %s", body, d.Rule, want)
		}
	}
	_, err := Parse("my.yaml", []byte("extends: http\nread: {code: [\"$.a\"]}\nrules:\n  - {id: all, match: {code: [any]}, job: drop}\n  - {id: late, match: {code: [A, 5]}, job: drop}\n"))
	if err == nil || !strings.Contains(err.Error(), `rule "late" is never reached`) {
		t.Errorf("got %v", err)
	}
	if again, err := Parse("again.yaml", p.YAML()); err != nil || !strings.Contains(string(again.YAML()), "code: [any]") {
		t.Errorf("show: %v", err)
	}
}
