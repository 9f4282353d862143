package simapi

import (
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestAWrongLineIsNamedWithWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"GET /x", "line 1: no ->"},
		{"# fine\n\nGET /x -> ok\nGET /x -> okay", `line 4: step 1: unknown answer "okay"`},
		{"-> ok", "line 1: method or path is missing"},
		{"GET -> ok", "line 1: method or path is missing"},
		{"get /x -> ok", `method "get"; want it in capitals`},
		{"GET x -> ok", `path "x"; want one that begins with / or *`},
		{"GET /x?q=1 -> ok", "write the query as name=value"},
		{"GET /x q -> ok", `"q" is no condition`},
		{"GET /x =1 -> ok", `"=1" is no condition`},
		{"GET /x; -> ok", "a ; before the ->"},
		{"0% GET /x -> ok", `share "0%"`},
		{"NaN% GET /x -> ok", `share "NaN%"`},
		{"101% GET /x -> ok", `share "101%"`},
		{"GET /x ->", "step 1 is empty"},
		{"GET /x -> ok;", "step 2 is empty"},
		{"GET /x -> ok -> ok", "step 1: a second ->"},
		{"GET /x -> ok forever; html", "step 1 is for ever, so step 2 is never reached"},
		{"GET /x -> ok html", `"html" is a second answer`},
		{"GET /x -> ok x2 forever", "given twice"},
		{"GET /x -> ok latency=1s latency=2s", "given twice"},
		{"GET /x -> ok x0", `"x0"; want x1 to`},
		{"GET /x -> ok x99999999999999999999", "want x1 to"},
		{"GET /x -> http:99", "status from 200 to 599"},
		{"GET /x -> http:503@200", "status from 200 to 599"},
		{"GET /x -> 68300008@700", "status 700; want 200 to 599"},
		{"GET /x -> 068300008", "unknown answer"},
		{"GET /x -> " + strings.Repeat("9", 31), "unknown answer"},
		{"GET /x -> reset@500", "reset sends no answer that could have status 500"},
		{"GET /x -> hang gzip", "hang sends no answer that could carry gzip"},
		{"GET /x -> hang=0s", "hang=0s; want a duration"},
		{"GET /x -> ok latency=-1s", "latency=-1s; want a duration"},
		{"GET /x -> ok message=hi", "message goes with an error code or no-code"},
		{"GET /x -> 1 message=", "message is empty"},
		{"GET /x -> http:429 retry-after=soon", "want whole seconds or date:DURATION"},
		{"GET /x -> http:429 retry-after=date:soon", "want date: and a duration"},
		{"GET /x -> ok header=X", "want header=NAME:VALUE"},
		{"GET /x -> ok header=\"X Y:1\"", "want header=NAME:VALUE"},
		{"GET /x -> ok header=content-length:5", "Content-Length frames the answer"},
		{"GET /x -> ok header=\"X:a\\r\\nY: b\"", "control character"},
		{"GET /x -> redirect:elsewhere", "want /path or http://host/path"},
		{"GET /x -> redirect:ftp://h/", "want /path or http://host/path"},
		{"GET /x -> redirect:/y@200", "status 200 is no redirect"},
		{"GET /x -> redirect:/y@305", "status 305 is no redirect"},
		{"GET /x -> big=2GB", "want a size from 1B to 1GiB"},
		{"GET /x -> big=0B", "want a size from 1B to 1GiB"},
		{"GET /x -> big=10", "want a size from 1B to 1GiB"},
		{"GET /x -> body=\"open", "a quoted text that does not end"},
		{`GET /x -> body={"a": 1`, "is not JSON; write such a body between backquotes"},
		{`GET /x -> body={"a":1}}"`, "a quote inside body="},
		{`GET /x -> body=<a="c"/>`, "a quote inside body=<a=; write the body between backquotes"},
		{`GET /x -> body=<a b="c"/>`, "a body with spaces stands between backquotes"},
		{`GET /x -> http:460 body={} http:461`, `"http:461" is a second answer`},
		{`GET /x -> http:460 body={}@461`, "is a second answer"},
		{`GET /x -> body={}@460 http:461`, "is a second answer"},
		{`GET /x -> ok body={}`, "is a second answer"},
		{"GET /x -> ok\x00", "control character"},
		{"GET /\xff -> ok", "not UTF-8"},
		{strings.Repeat(" ", maxScript+1), "at most 1048576 are read"},
	} {
		_, err := ParseScript(c.script)
		var wrong *ParseError
		if !errors.As(err, &wrong) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q:\n got %v\nwant … %s …", c.script, err, c.want)
		}
	}
}

func TestAnAnswerIsReadWithItsOptionsInAnyOrder(t *testing.T) {
	for _, c := range []struct {
		step string
		want func(answer) bool
	}{
		{"68300008", func(a answer) bool { return a.kind == kindCode && a.code == "68300008" && a.label == "68300008" }},
		{"67200003@401", func(a answer) bool { return a.status == 401 && a.label == "67200003@401" }},
		{"latency=50ms ok", func(a answer) bool { return a.kind == kindOK && a.latency == 50*time.Millisecond }},
		{"latency=50ms", func(a answer) bool { return a.kind == kindOK && a.latency == 50*time.Millisecond }},
		{"gzip header=X:1 header=X:2 big=2KiB", func(a answer) bool { return a.gzip && len(a.header) == 2 && a.size == 2048 }},
		{"http:429 retry-after=2", func(a answer) bool { return a.retry == retryAfter{set: true, wait: 2 * time.Second} }},
		{"http:429 retry-after=date:-2s", func(a answer) bool { return a.retry == retryAfter{set: true, date: true, wait: -2 * time.Second} }},
		{`body="a ; b # c@404"`, func(a answer) bool { return a.text == "a ; b # c@404" && a.status == 0 }},
		{`body="x"@404`, func(a answer) bool { return a.text == "x" && a.status == 404 && a.label == "body@404" }},
		{`body={"a": {"b": "c; d # {\""}} x2`, func(a answer) bool { return a.kind == kindBody && a.text == `{"a": {"b": "c; d # {\""}}` }},
		{`body=[{"code": 17}]@409`, func(a answer) bool { return a.text == `[{"code": 17}]` && a.status == 409 }},
		{`body={open`, func(a answer) bool { return a.text == "{open" }},
		{`body=<a>b</a>`, func(a answer) bool { return a.text == "<a>b</a>" }},
		{`http:460 header=X-Fault:credit body={"a":1}`, func(a answer) bool {
			return a.kind == kindHTTP && a.status == 460 && a.text == `{"a":1}` && len(a.header) == 1 && a.label == "http:460"
		}},
		{`body={"a":1} http:460`, func(a answer) bool { return a.kind == kindHTTP && a.status == 460 && a.text == `{"a":1}` }},
		{`http:460 body=""`, func(a answer) bool { return a.kind == kindHTTP && a.hasText && a.text == "" }},
		{"body=`{\"a\":1}` # comment", func(a answer) bool { return a.text == `{"a":1}` }},
		{"redirect:http://user@other:8080/p?a=b@307", func(a answer) bool {
			return a.location == "http://user@other:8080/p?a=b" && a.status == 307
		}},
		{"hang=1500ms", func(a answer) bool { return a.hang == 1500*time.Millisecond }},
		{`no-code message="well, no"`, func(a answer) bool { return a.kind == kindNoCode && a.message == "well, no" }},
	} {
		s, err := ParseScript("GET /x -> " + c.step)
		if err != nil {
			t.Errorf("%s: %v", c.step, err)
		} else if got := s.rules[0].steps[0].answer; !c.want(got) {
			t.Errorf("%s: read as %+v", c.step, got)
		}
	}
}

func TestEveryDocumentedExampleParses(t *testing.T) {
	s := MustParseScript(`
GET /search/*            -> 68300008 x2; ok            # two service errors, then the default
POST /upload key=row-7*  -> 68300010 forever
shared GET /trend        -> ok x100; http:429 retry-after=2
5% * *                   -> http:503 latency=200ms
GET /secret              -> 67200003@401; ok
GET /limit               -> 67200000 message="over the limit"
GET /old                 -> redirect:/new@307; redirect:http://elsewhere.test/
GET /odd                 -> html@502; malformed; empty; body=` + "`" + `{"no":"envelope"}` + "`" + `; cut; reset; hang=2s
PUT /much                -> big=10MB gzip header="X-Note: a long one"
GET /own                 -> http:460 header=X-Fault:credit body={"code": 17}; http:400 body=` + "`" + `<e a="b"/>` + "`" + `
`)
	if len(s.rules) != 10 {
		t.Errorf("%d rules, want 10", len(s.rules))
	}
	if s.String() == "" || (*Script)(nil).String() != "" {
		t.Error("a script does not give its text back")
	}
}

func TestEveryDocumentedExampleOfAnAPIParses(t *testing.T) {
	for api, text := range map[string]string{
		"openai": "POST /v1/chat/completions  -> rate-limit wait=6m; overloaded; insufficient-quota; ok\nshared * * -> ok x100; request-limit wait=10s; ok",
		"github": "shared * *                 -> ok x100; secondary-limit wait=1m; ok",
	} {
		if _, err := ParseScriptFor(api, text); err != nil {
			t.Errorf("%s: %v", api, err)
		}
	}
}

func TestMustParseScriptPanicsWithTheLine(t *testing.T) {
	defer func() {
		if got, _ := recover().(string); !strings.Contains(got, "line 1") {
			t.Errorf("panicked with %q", got)
		}
	}()
	MustParseScript("nonsense")
}

func FuzzParseScript(f *testing.F) {
	for _, seed := range []string{
		demoScript,
		"",
		"GET /x -> ok",
		"shared 5% * * key=a*b h=\"x y\" -> 68300008@500 x2 message=`m`; hang=1s; ok forever",
		"GET /x -> redirect:http://h/@307 retry-after=date:-1h gzip",
		"GET /x -> body=\"\\xff\"@500; big=1GiB; http:204",
		"GET /x -> ok\r\n# comment\r\nGET /y->ok",
		"GET /x -> \"->\"",
		"1e-300% GET /x -> x1",
		"* * -> header=\"X:\\u0000\"",
	} {
		f.Add(seed)
	}
	r := httptest.NewRequest("GET", "/x?key=ab&q=1", nil)
	tgt := targetOf(r)
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseScript(text)
		if err != nil {
			var wrong *ParseError
			if !errors.As(err, &wrong) || wrong.Problem == "" || wrong.Line < 1 || wrong.Line > 1+strings.Count(text, "\n") {
				t.Fatalf("the error names no line of the script: %v", err)
			}
			return
		}
		progress := map[progressKey]int{}
		for seed := range uint64(5) {
			a, scripted := s.next(seed, r, tgt, progress)
			if !scripted {
				continue
			}
			if a.label == "" || a.kind == "" {
				t.Fatalf("an answer without a name: %+v", a)
			}
			if status := a.httpStatus(); status < 200 || status > 599 {
				t.Fatalf("status %d", status)
			}
			if a.size > maxBig || a.hang < 0 || a.latency < 0 {
				t.Fatalf("out of bounds: %+v", a)
			}
			if a.onTheWire() && a.kind != kindBig {
				a.send(httptest.NewRecorder(), time.Unix(0, 0), a.bodyOf(Envelope{}, []byte("null")))
			}
		}
	})
}
