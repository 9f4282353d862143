package draft

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/seed-2903acc3/callq/policy"
)

func load(data []byte) (*policy.Policy, error) { return policy.Parse("my.yaml", data) }

// made makes a draft of answers that extends http, and checks that it lints clean, that its
// cases pass and that no decision has changed.
func made(t *testing.T, answers ...Answer) (d Draft, text, cases string) {
	t.Helper()
	d, err := New(Options{Name: "my", Extends: "http", Answers: answers, Load: load})
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Policy)
	}
	files := fstest.MapFS{"my.yaml": {Data: d.Policy}, "my.cases.yaml": {Data: d.Cases}}
	findings, err := policy.Lint(files, "my.yaml")
	if err != nil || len(findings) > 0 {
		t.Errorf("lint: got %v, %v\n%s", findings, err, d.Policy)
	}
	if len(answers) == 0 {
		return d, string(d.Policy), ""
	}
	loaded, err := policy.LoadCases(files, "my.cases.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, d.Cases)
	}
	results := policy.RunCases(loaded)
	for _, r := range results {
		if !r.Passed() {
			t.Errorf("case %q: %v", r.Case.Name, r.Problems)
		}
	}
	if rules := loaded.Uncovered(results); len(rules) > 0 {
		t.Errorf("no case reaches %v", rules)
	}
	base, err := policy.Preset("http")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range answers {
		for _, idempotent := range []bool{true, false} {
			at := policy.Attempt{Method: "GET", Endpoint: "GET /", Idempotent: idempotent, N: 1, CanRefresh: true}
			got, want := loaded.Policy.Decide(loaded.Policy.ReadAnswer(a.response()), at), base.Decide(base.ReadAnswer(a.response()), at)
			got.Rule, got.Message, got.Advice = want.Rule, want.Message, want.Advice
			if got != want {
				t.Errorf("%d %s: the draft decides\n%+v, http\n%+v", a.Status, a.Body, got, want)
			}
		}
	}
	return d, string(d.Policy), string(d.Cases)
}

func answer(status int, rule, body string) Answer {
	return Answer{Key: "row-1", Method: "POST", Path: "/orders?x=1", Status: status, Rule: rule, Body: []byte(body)}
}

func TestAnAnswerNeedsARuleWhereNoneKnewIt(t *testing.T) {
	for _, tt := range []struct {
		status            int
		class, rule, body string
		want              bool
	}{
		{418, "unknown", "anything-else", "", true},
		{418, "unknown", "my-own", "", true},
		{400, "bad_parameter", "bad-request", `{"error": {"code": "x"}}`, true},
		{400, "bad_parameter", "bad-request", `{"code": 7}`, true},
		{400, "bad_parameter", "bad-request", `[{"errorCode": "X"}]`, true},
		{400, "bad_parameter", "bad-request", `{}`, false},
		{400, "bad_parameter", "bad-request", `Bad Request`, false},
		{404, "bad_parameter", "bad-request", "404 page not found\n", false},
		{400, "bad_parameter", "bad-request", `<e><c>BAD_LAT</c></e>`, true},
		{599, "transient", "fault", `we may or may not have written the order`, true},
		{503, "transient", "fault", `<!doctype html><title>Maintenance</title>`, false},
		{503, "transient", "fault", ``, false},
		{200, "ok", "ok", `<e><c>BAD_LAT</c></e>`, false},
		{400, "bad_parameter", "my-own", `{"error": {"code": "x"}}`, false},
		{200, "ok", "ok", `{"errors": [{"reason": "busy"}]}`, true},
		{200, "ok", "ok", `{"ok": false}`, true},
		{200, "ok", "ok", `{"errors": [], "error": null, "code": 7, "message": "hi", "ok": true}`, false},
		{0, "transient", "anything-else", "", false},
	} {
		a := answer(tt.status, tt.rule, tt.body)
		a.Class = tt.class
		if got := NeedsRule(a); got != tt.want {
			t.Errorf("%d %s %s %s: got %v", tt.status, tt.class, tt.rule, tt.body, got)
		}
	}
}

func TestPlacesAreFoundByTheShapesOfTheBodies(t *testing.T) {
	for _, tt := range []struct {
		status              int
		body, code, message string
	}{
		{400, `{"error": {"code": "x", "message": "An x.", "type": "t"}}`, `"$.error.code"`, `"$.error.message"`},
		{429, `{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "No."}}`, `"$.error.status"`, `"$.error.message"`},
		{429, `{"error": {"code": null, "type": "insufficient_quota", "message": "No."}}`, `"$.error.type"`, `"$.error.message"`},
		{400, `{"type": "error", "error": {"type": "overloaded"}}`, `"$.error.type"`, ``},
		{400, `[{"errorCode": "REQUEST_LIMIT", "message": "No."}]`, `"$[*].errorCode"`, `"$[*].message"`},
		{200, `{"errors": [{"reason": "busy", "text": "Come back."}]}`, `"$.errors[*].reason"`, `"$.errors[*].text"`},
		{400, `{"__type": "ThrottlingException", "Message": "Slow"}`, `"$.__type"`, `"$.Message"`},
		{400, `{"status": false, "error_code": 68300008, "error_msg": "Busy"}`, `"$.error_code"`, `"$.error_msg"`},
		{400, `{"error": "invalid_grant", "error_description": "It is old."}`, `"$.error"`, `"$.error_description"`},
		{400, `<e><c>BAD_LAT</c><t>latitude out of range</t></e>`, `{from: body, find: "<c>([^<]+)</c>"}`, `{from: body, find: "<t>([^<]+)</t>"}`},
		{400, `<s:Fault><faultcode>s:Client</faultcode><faultstring>No.</faultstring></s:Fault>`,
			`{from: body, find: "<faultcode>([^<]+)</faultcode>"}`, `{from: body, find: "<faultstring>([^<]+)</faultstring>"}`},
		{400, `{"a b": {"code": "x"}}`, `"$['a b'].code"`, ``},
		{400, `{"it's": {"code": "x"}}`, `"$['it\\'s'].code"`, ``},
	} {
		_, text, _ := made(t, answer(tt.status, "bad-request", tt.body))
		if !strings.Contains(text, "\n  code: ["+tt.code+"]\n") || tt.message != "" && !strings.Contains(text, "\n  message: ["+tt.message+"]\n") {
			t.Errorf("%s:\nwant code %s, message %s\n%s", tt.body, tt.code, tt.message, text)
		}
	}
}

func TestAValueThatDiffersFromAnswerToAnswerIsNoCode(t *testing.T) {
	var answers []Answer
	for _, id := range strings.Fields("a1 b2 c3 d4 e5 f6 g7 h8 i9 j0") {
		answers = append(answers, answer(400, "bad-request", `{"error": {"code": "`+id+`", "type": "bad"}}`))
	}
	d, text, _ := made(t, answers...)
	if !strings.Contains(text, `code: ["$.error.type"]`) || len(d.Rules) != 1 {
		t.Error(text)
	}
}

func TestAnswersAreGroupedByStatusCodeAndShape(t *testing.T) {
	d, text, cases := made(t,
		answer(400, "bad-request", `{"error": {"code": "no_credit", "message": "You are out of money."}}`),
		answer(400, "bad-request", `{"error": {"code": "no_credit", "message": "You are out of money.", "help": 1}}`),
		answer(400, "bad-request", `{"error": {"code": "no_credit", "message": "You are out of money.", "help": 2}}`),
		answer(400, "bad-request", `{"error": {"code": "odd", "message": "It is odd."}}`),
		answer(418, "anything-else", `a teapot`),
	)
	want := []Rule{
		{ID: "http-400-no-credit", Status: 400, Code: "no_credit", Answers: 3, Active: true},
		{ID: "http-400-odd", Status: 400, Code: "odd", Answers: 1, Active: true},
		{ID: "http-418", Status: 418, Answers: 1, Active: true},
	}
	for i := range want {
		if len(d.Rules) != 3 || d.Rules[i] != want[i] {
			t.Fatalf("got %+v, want %+v", d.Rules, want)
		}
	}
	for _, part := range []string{
		"\n  # 3 answers: HTTP 400, code no_credit, {error{code, help, message}} or {error{code, message}}; first row-1.\n",
		"\n  # The first says: \"You are out of money.\"\n",
		"\n  # The words suggest that the account has run out of money. If that is so, decide:\n  #   class: balance\n  #   job: dead_letter\n",
		"\n  - id: http-400-no-credit\n    match: {http: [400], code: [\"no_credit\"]}\n    class: bad_parameter   # as the rule bad-request of http\n    job: drop\n    circuit: {effect: none}\n",
		"\n    match: {http: [418], code: [none]}\n    class: unknown   # as the rule other-refusal of http\n    job: retry\n    backoff: \"brief\"\n    circuit: {effect: count}\n",
	} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in\n%s", part, text)
		}
	}
	if got := strings.Count(cases, "- name:"); got != 4 {
		t.Errorf("%d cases\n%s", got, cases)
	}
	if !strings.Contains(cases, "policy: \"./my.yaml\"\n") || !strings.Contains(cases, `request: {method: "POST", path: "/orders"}`) ||
		!strings.Contains(cases, `expect: {rule: "http-400-odd", class: bad_parameter, job: drop, code: "odd"}`) {
		t.Error(cases)
	}
}

func TestARuleThatCouldChangeADecisionIsAComment(t *testing.T) {
	body := `{"error": {"code": "busy", "message": "Come back.", "retry_in_ms": 1500}}`
	for status, reason := range map[int]string{
		200: "  # These calls end as done: the rule ok of http takes the answer for a success.\n",
		403: "(limit_used_up).\n",
		502: "(idempotent).\n",
	} {
		d, text, cases := made(t, answer(status, "ok", body))
		if d.Rules[0].Active || !strings.Contains(text, reason) || !strings.Contains(text, "\n  # - id: http-") {
			t.Errorf("%d:\n%s", status, text)
		}
		if !strings.Contains(text, `{from: "$.error.retry_in_ms", format: milliseconds}`) {
			t.Errorf("the wait is not proposed:\n%s", text)
		}
		if strings.Count(cases, "- name:") != 1 {
			t.Error(cases)
		}
		// Without the # it is a valid rule.
		active := regexp.MustCompile(`(?m)^  # (- id:|  (match|class|job|backoff|circuit|refresh):)`).ReplaceAllString(text, "  $1")
		if p, err := load([]byte(active)); err != nil || p.Rules()[0] != d.Rules[0].ID {
			t.Errorf("%v\n%s", err, active)
		}
	}
}

func TestAStarterHasEverySectionAsAComment(t *testing.T) {
	_, text, _ := made(t)
	p, err := load([]byte(text))
	base, _ := policy.Preset("http")
	if err != nil || len(p.Rules()) != len(base.Rules()) {
		t.Fatalf("%v\n%s", err, text)
	}
	var lines []string
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "##") && !strings.HasPrefix(line, "# ") {
			line = strings.TrimPrefix(line, "#")
		}
		lines = append(lines, line)
	}
	text = strings.Join(lines, "")
	findings, err := policy.Lint(fstest.MapFS{"my.yaml": {Data: []byte(text)}}, "my.yaml")
	if err != nil || len(findings) > 0 {
		t.Errorf("without its comments: %v %v\n%s", findings, err, text)
	}
	for _, key := range []string{"read:", "pace:", "backoffs:", "holds:", "breaker:", "upstream:", "rules:"} {
		if !strings.Contains(text, "\n"+key) {
			t.Errorf("there is no %s", key)
		}
	}
}

func TestWhatTheExtendedPolicyReadsIsNotProposed(t *testing.T) {
	d, err := New(Options{Name: "my", Extends: "patsnap", Load: load, Answers: []Answer{
		answer(400, "bad-request", `{"status": false, "error_code": 123, "error_msg": "What?", "code": "x"}`),
	}})
	if err != nil || strings.Contains(string(d.Policy), "\nread:") || d.Rules[0].ID != "http-400-123" || !d.Rules[0].Active {
		t.Errorf("%v %+v\n%s", err, d.Rules, d.Policy)
	}
}

func TestALargeBodyIsClipped(t *testing.T) {
	long := `{"error": {"code": "busy", "message": "` + strings.Repeat("Long. ", 2000) + `"}, "items": [` + strings.Repeat("{}, ", 5000) + `{}]}`
	d, _, cases := made(t, answer(400, "bad-request", long))
	if d.Rules[0].Code != "busy" || len(cases) > 6000 {
		t.Errorf("%+v, %d bytes of cases", d.Rules, len(cases))
	}
	if got := Clip([]byte("\xff\x00a" + strings.Repeat("b", 10000))); len(got) > maxBody || !strings.HasPrefix(string(got), "ab") {
		t.Errorf("got %d bytes: %.20q", len(got), got)
	}
}

func TestManyKindsAreBounded(t *testing.T) {
	var answers []Answer
	for i := range 60 {
		answers = append(answers, answer(400+i, "anything-else", ``), answer(400+i, "anything-else", ``))
	}
	answers[0].Header = http.Header{"X-A": {"b", "c"}}
	d, text, _ := made(t, answers...)
	if len(d.Rules) != maxRules || !strings.Contains(text, "# 20 more kinds are left out, with 40 answers together.") {
		t.Errorf("%d rules\n%s", len(d.Rules), text)
	}
}

func TestCodesInTextsMakeGroups(t *testing.T) {
	d, text, _ := made(t,
		answer(400, "bad-request", `<e><c>BAD_LAT</c></e>`), answer(400, "bad-request", `<e><c>TOKEN_OLD</c></e>`), answer(400, "bad-request", `<e><c>BAD_LAT</c></e>`),
		answer(409, "bad-request", `[{"code": 17}]`))
	want := []string{"http-400-bad-lat", "http-400-token-old", "http-409-17"}
	for i := range want {
		if len(d.Rules) != len(want) || d.Rules[i].ID != want[i] {
			t.Fatalf("got %+v, want %v\n%s", d.Rules, want, text)
		}
	}
}

func TestAHeaderWithACodeIsProposed(t *testing.T) {
	a, b := answer(460, "other-refusal", ""), answer(460, "other-refusal", "")
	a.Header, b.Header = http.Header{"X-Fault": {"credit"}}, http.Header{"X-Fault": {"region"}}
	d, text, _ := made(t, a, b)
	if len(d.Rules) != 2 || d.Rules[0].Code != "credit" || !strings.Contains(text, `code: ["header x-fault"]`) || strings.Contains(text, "keep_headers") {
		t.Errorf("%+v\n%s", d.Rules, text)
	}
}

func TestHintsSayWhatTheResultsLack(t *testing.T) {
	refused := answer(420, "other-refusal", "")
	for results, limits := range map[int]bool{0: false, 5: true, 100: false} {
		d, err := New(Options{Name: "my", Extends: "http", Load: load, Results: results, Answers: []Answer{refused, refused}})
		if err != nil {
			t.Fatal(err)
		}
		text := string(d.Policy)
		if !strings.Contains(text, "name it in keep_headers of callq.yaml") || strings.Contains(text, "set limits in") != limits {
			t.Errorf("of %d results:\n%s", results, text)
		}
	}
}

func FuzzNew(f *testing.F) {
	f.Add(400, "row-1", "/a", "X-A", "b", `{"error": {"code": "a'b\"c", "message": "[[{"}}`, `{"errors": [{"reason": "none"}]}`)
	f.Add(404, "a", "b", "X-Error-Code", "c", `{"[": {"status": "a[\"b"}}`, `{"[": {"status": "]#"}}`)
	f.Add(404, "a", "b", "X-Error-Code", "c", `<e><code>A-1</code></e>`, `<e><cd:x>[[{</cd:x></e>`)
	f.Add(200, "[", "]", "a", "\x7f", "<html>[[[", "\xff")
	f.Fuzz(func(t *testing.T, status int, key, path, name, value, one, two string) {
		if status < 100 || status > 999 {
			status = 400
		}
		a, b := answer(status, "anything-else", one), answer(status, "anything-else", two)
		a.Key, a.Path, a.Header = key, path, http.Header{}
		a.Header.Set(name, value)
		var good Successes
		for range leastSuccesses {
			for _, body := range []string{one, two} {
				good.Add(Answer{Status: 200, Class: "ok", Rule: "ok", Body: []byte(body)})
			}
		}
		d, err := New(Options{Name: "my", Extends: "http", Answers: []Answer{a, b}, Load: load, Successes: &good, Results: 3})
		if err != nil {
			t.Fatalf("%v\n%s", err, d.Policy)
		}
		files := fstest.MapFS{"my.yaml": {Data: d.Policy}}
		if findings, err := policy.Lint(files, "my.yaml"); err != nil || len(findings) > 0 {
			t.Fatalf("%v %v\n%s", findings, err, d.Policy)
		}
	})
}
