package policy

import (
	"net/http"
	"strings"
	"testing"
)

const readsMuch = `
extends: http
read:
  code: ["$.error.code", "$.error.type", "header x-error-code"]
  message: ["$.error.text[*]", "$.note"]
  ok: ["$.ok"]
  correlation_id: ["$.trace", "header x-trace"]
rules:
  - {id: no-credit, match: {code: [insufficient_quota]}, class: balance, job: dead_letter}
  - {id: numbered, match: {code: [123, "077"]}, class: bad_parameter, job: drop}
  - {id: not-ok, match: {status_flag: "false"}, class: unknown, job: retry}
  - {id: throttled, match: {where: {"$.errors[*].code": "^THROTTLED$"}}, class: quota, job: park}
  - {id: no-header, match: {http: [403], where: {"header x-left": absent, "$.why": present}}, class: auth, job: dead_letter}
  - {id: not-json, match: {http: ["2xx"], body: [malformed]}, class: protocol, job: retry}
`

func TestAnAnswerIsReadAtThePlacesOfThePolicy(t *testing.T) {
	p := parse(t, readsMuch)
	for _, tt := range []struct {
		status                  int
		header, body            string
		code, message, id, rule string
	}{
		{429, "", `{"error": {"code": "insufficient_quota", "type": "x"}}`, "insufficient_quota", "", "", "no-credit"},
		{429, "", `{"error": {"code": null, "type": "insufficient_quota"}}`, "insufficient_quota", "", "", "no-credit"},
		{429, "", `{"error": {"code": "", "type": "insufficient_quota"}}`, "insufficient_quota", "", "", "no-credit"},
		{429, "", `{"error": {"code": "Insufficient_Quota"}}`, "Insufficient_Quota", "", "", "too-many-requests"},
		{429, "X-Error-Code: insufficient_quota", `<html>`, "insufficient_quota", "", "", "no-credit"},
		{400, "", `{"error": {"code": 1.23e2}}`, "123", "", "", "numbered"},
		{400, "", `{"error": {"code": "0123"}}`, "123", "", "", "numbered"},
		{400, "", `{"error": {"code": 77}}`, "77", "", "", "numbered"},
		{500, "", `{"error": {"text": ["a", 1, "b\u0007"]}, "note": "c"}`, "", "a; b", "", "fault"},
		{500, "", `{"error": {"text": []}, "note": "c", "trace": "t-1"}`, "", "c", "t-1", "fault"},
		{500, "X-Trace: t-2", `{"trace": ""}`, "", "", "t-2", "fault"},
		{200, "", `{"ok": false}`, "", "", "", "not-ok"},
		{200, "", `{"ok": "TRUE"}`, "", "", "", "ok"},
		{200, "", `{"ok": 1}`, "", "", "", "not-json"},
		{200, "", `{"ok": true, "errors": [{"code": "A"}, {"code": "THROTTLED"}]}`, "", "", "", "throttled"},
		{200, "", `{"ok": true, "errors": [{"code": "NOT_THROTTLED"}]}`, "", "", "", "ok"},
		{403, "", `{"why": "because"}`, "", "", "", "no-header"},
		{403, "", `{"why": null}`, "", "", "", "forbidden"},
		{403, "X-Left: 3", `{"why": "because"}`, "", "", "", "forbidden"},
	} {
		header := http.Header{}
		if name, value, ok := strings.Cut(tt.header, ": "); ok {
			header.Set(name, value)
		}
		o := p.ReadAnswer(Response{Status: tt.status, Header: header, Body: []byte(tt.body)})
		d := p.Decide(o, Attempt{Method: "GET", N: 1})
		if o.Code != tt.code || tt.message != "" && o.Message != tt.message || o.CorrelationID != tt.id || d.Rule != tt.rule {
			t.Errorf("%d %s %s:\n got code %q, message %q, id %q, rule %s\nwant code %q, message %q, id %q, rule %s", tt.status, tt.header, tt.body,
				o.Code, o.Message, o.CorrelationID, d.Rule, tt.code, tt.message, tt.id, tt.rule)
		}
	}
}

func TestAPolicyReadsWhatItsBaseReadsUnlessItSaysOtherwise(t *testing.T) {
	p := parse(t, "extends: patsnap\nread: {message: [\"$.text\"], code: []}\n")
	o := p.ReadAnswer(Response{Status: 200, Body: []byte(`{"status": false, "error_code": 67200001, "error_msg": "m", "text": "t"}`)})
	if o.Code != "" || o.Message != "t" || o.Flag != FlagFalse {
		t.Errorf("got %+v", o)
	}
}

func TestShowKeepsAllThatTheLanguageCanSay(t *testing.T) {
	p := parse(t, readsMuch+`
  - {id: again, match: {http: [409]}, fresh_key: true}
pace:
  - {remaining: "header x-left", reset: {from: "$.reset", format: rfc3339}, keep: 3}
holds:
  quota: {sources: [{from: "$.a", find: "([0-9]+)", format: seconds}, {need: "$.n", have: "$.h", per_second: "$.r"}, ladder]}
backoffs:
  standard: {sources: [{from: "header x-wait"}]}
`)
	shown := string(p.YAML())
	again, err := Parse("again.yaml", []byte(shown))
	if err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	if second := strings.ReplaceAll(string(again.YAML()), "again.yaml", "my.yaml"); trimFrom(second) != trimFrom(shown) {
		t.Errorf("it reads back as\n%s\nwant\n%s", second, shown)
	}
	for _, part := range []string{
		`code: ["$.error.code", "$.error.type", "header x-error-code"]`, "fresh_key: true", `{"header x-left": absent, "$.why": present}`,
		`- {remaining: "header x-left", reset: {from: "$.reset", format: rfc3339}, keep: 3}`, `{need: "$.n", have: "$.h", per_second: "$.r"}`,
		`code: ["insufficient_quota"]`,
	} {
		if !strings.Contains(shown, part) {
			t.Errorf("%s is missing from\n%s", part, shown)
		}
	}
}

// trimFrom takes out the comments that say which file a rule is from.
func trimFrom(text string) string {
	var kept []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func TestWhatIsLeftOfALimitIsReadFromAnyAnswer(t *testing.T) {
	p := parse(t, `
pace:
  - {remaining: "header x-ratelimit-remaining", reset: {from: "header x-ratelimit-reset", format: seconds}, keep: 5}
  - {remaining: "header ratelimit", reset: {from: "header ratelimit"}}
  - {remaining: "$.left", reset: {from: "$.reset", format: seconds}}
`)
	o := p.ReadAnswer(Response{
		Status: 200, Body: []byte(`{"left": 7.9, "reset": 3}`),
		Header: http.Header{"X-Ratelimit-Remaining": {"12"}, "X-Ratelimit-Reset": {"60"}, "Ratelimit": {`"burst";r=100;t=1, "day";r=4;t=3600`}},
	})
	got := p.ReadPace(o)
	want := []PaceReading{{0, 12, 60e9, 5}, {1, 4, 3600e9, 0}, {2, 7, 3e9, 0}}
	if len(got) != len(want) {
		t.Fatalf("got %v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	for _, header := range []http.Header{{"X-Ratelimit-Remaining": {"12"}}, {"X-Ratelimit-Remaining": {"-1"}, "X-Ratelimit-Reset": {"60"}}, {"Ratelimit": {"limit=1"}}} {
		if got := p.ReadPace(p.ReadAnswer(Response{Status: 200, Header: header})); got != nil {
			t.Errorf("%v says %v", header, got)
		}
	}
}

func TestASuccessIsDecidedWithoutAllocation(t *testing.T) {
	p := parse(t, readsMuch)
	o := p.ReadAnswer(Response{Status: 200, Body: []byte(`{"ok": true}`)})
	if n := testing.AllocsPerRun(100, func() { p.Decide(o, Attempt{Method: "GET", Endpoint: "GET /a", N: 1}) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzPolicyFile(f *testing.F) {
	f.Add([]byte(readsMuch))
	f.Add([]byte(`pace: [{remaining: "header a", reset: {from: "$.b", format: epoch}, keep: 2}]`))
	f.Add([]byte(`holds: {quota: {sources: [{from: message, find: "(a)"}, {need: "$.a", have: "$.b", per_second: "$.c"}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Parse("my.yaml", data)
		if err != nil {
			return
		}
		if _, err := Parse("again.yaml", p.YAML()); err != nil {
			t.Fatalf("%v\n%s", err, p.YAML())
		}
	})
}

func TestARuleFindsTheMessageOfARefusalInA200(t *testing.T) {
	const rules = "extends: http\nrules:\n  - {id: throttled, match: {http: [200], message: '(?i)throttled|ratelimited|OVER_QUERY_LIMIT'}, class: quota, job: park}\n"
	searching, plain := parse(t, rules), parse(t, "extends: http\n")
	for body, refused := range map[string]bool{
		`{"data":null,"errors":[{"message":"Throttled","extensions":{"code":"THROTTLED"}}]}`: true,
		`{"ok":false,"error":"ratelimited"}`:                                                 true,
		`{"results":[],"status":"OVER_QUERY_LIMIT"}`:                                         true,
		`{"data":{}}`: false,
		`{"choices":[{"message":{"content":"how to avoid being ratelimited"}}]}`:                false,
		`throttled is a word of this text`:                                                      false,
		`<?xml version="1.0"?><Error><Code>SlowDown</Code><Message>throttled</Message></Error>`: true,
	} {
		response := Response{Status: 200, Body: []byte(body)}
		want := "ok"
		if refused {
			want = "throttled"
		}
		if d := searching.Decide(searching.ReadAnswer(response), Attempt{N: 1}); d.Rule != want {
			t.Errorf("%s: got rule %s, want %s", body, d.Rule, want)
		}
		if o := plain.ReadAnswer(response); o.Message != "" {
			t.Errorf("%s: a policy without such a rule reads the message %q", body, o.Message)
		}
	}
}
