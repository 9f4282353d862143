package policy

import (
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func preset(tb testing.TB, name string) *Policy {
	tb.Helper()
	p, err := Preset(name)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func parse(tb testing.TB, data string) *Policy {
	tb.Helper()
	p, err := Parse("my.yaml", []byte(data))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// anyOutcome makes outcomes of every shape, sensible or not.
func anyOutcome() *rapid.Generator[Outcome] {
	return rapid.Custom(func(t *rapid.T) Outcome {
		return Outcome{
			Transport: rapid.SampledFrom(append(slices.Clone(transports), "", "", "", "nonsense")).Draw(t, "transport"),
			Status:    rapid.OneOf(rapid.IntRange(100, 599), rapid.Int(), rapid.Just(200)).Draw(t, "status"),
			Header: rapid.SampledFrom([]http.Header{
				nil, {"X-Reason": {"maintenance"}}, {"Retry-After": {"60"}}, {"X-Ratelimit-Remaining": {"0"}}, {"X-Ratelimit-Remaining": {"1"}},
			}).Draw(t, "header"),
			Body: rapid.SampledFrom(append(slices.Clone(bodies), "", "nonsense")).Draw(t, "body"),
			Flag: rapid.SampledFrom([]Flag{"", FlagTrue, FlagFalse, FlagAbsent, "nonsense"}).Draw(t, "flag"),
			Code: rapid.OneOf(rapid.SampledFrom([]string{"", "0", "67200000", "67200001", "67200002", "67200003", "67200004",
				"67200005", "68300004", "68300006", "68300008"}), rapid.String()).Draw(t, "code"),
			Message: rapid.OneOf(rapid.SampledFrom([]string{"", "over the limit", "maintenance"}), rapid.String()).Draw(t, "message"),
			Found:   rapid.SampledFrom([]map[string][]string{nil, {"$.a": {"a", "bee"}}, {"$.a": {""}}, {"$.b": {"b"}}}).Draw(t, "found"),
		}
	})
}

func anyAttempt() *rapid.Generator[Attempt] {
	return rapid.Custom(func(t *rapid.T) Attempt {
		return Attempt{
			Method:     rapid.SampledFrom([]string{"GET", "POST", ""}).Draw(t, "method"),
			Endpoint:   rapid.SampledFrom([]string{"GET /a/*", "POST /upload/*", "GET /b", "/c", ""}).Draw(t, "endpoint"),
			Idempotent: rapid.Bool().Draw(t, "idempotent"), Conditional: rapid.Bool().Draw(t, "conditional"),
			N:          rapid.IntRange(-1, 10).Draw(t, "n"),
			Age:        time.Duration(rapid.Int64Range(-1, int64(48*time.Hour)).Draw(t, "age")),
			CanRefresh: rapid.Bool().Draw(t, "can refresh"),
		}
	})
}

func TestDecideIsTotal(t *testing.T) {
	for _, p := range []*Policy{preset(t, "patsnap"), preset(t, "http"), {}} {
		rapid.Check(t, func(t *rapid.T) {
			o, a := anyOutcome().Draw(t, "outcome"), anyAttempt().Draw(t, "attempt")
			d := p.Decide(o, a)
			switch {
			case !slices.Contains(classes, d.Class), !slices.Contains(actions, d.Action), !slices.Contains(effects, d.Circuit.Effect):
				t.Fatalf("not a decision: %+v", d)
			case d.Message == "" || d.Advice == "":
				t.Fatalf("rule %s has no message or no advice", d.Rule)
			case d.Exhausted && d.Action != ActionDeadLetter:
				t.Fatalf("exhausted: got the action %s, want dead_letter", d.Action)
			case d.Refresh && !a.CanRefresh:
				t.Fatal("the decision asks for a refresh that is not possible")
			case d.Circuit.Success && (o.Transport != "" || d.Circuit.Effect != EffectNone):
				t.Fatalf("this decision cannot be a success: %+v", d)
			case o.Transport != "" && (d.Action == ActionSucceed || d.Action == ActionDrop || d.Action == ActionPark):
				t.Fatalf("the action is %s although no answer arrived", d.Action)
			case d != p.Decide(o, a):
				t.Fatal("the second decision differs from the first")
			}
			if d.Action == ActionRetry {
				if b, ok := p.Backoff(d.Backoff); !ok || a.N >= b.Attempts || a.Age > b.MaxAge {
					t.Fatalf("a retry exceeds the budget of backoff %q", d.Backoff)
				}
			}
			if d.Circuit.Effect == EffectOpen {
				if _, ok := p.Hold(d.Circuit.Hold); !ok || d.Circuit.After < 1 {
					t.Fatalf("the circuit opens without a hold: %+v", d.Circuit)
				}
			}
		})
	}
}

func TestAParkNeverSpendsAnAttempt(t *testing.T) {
	p := preset(t, "patsnap")
	rapid.Check(t, func(t *rapid.T) {
		o, a := anyOutcome().Draw(t, "outcome"), anyAttempt().Draw(t, "attempt")
		d := p.Decide(o, a)
		if d.Action != ActionPark {
			return
		}
		a.N, a.Age = rapid.Int().Draw(t, "n"), time.Duration(rapid.Int64().Draw(t, "age"))
		if later := p.Decide(o, a); later != d {
			t.Fatalf("attempt %d of age %s: got %+v, want the same park", a.N, a.Age, later)
		}
	})
}

func TestACallThatMayDoHarmIsNeverRetriedWithoutAnAnswer(t *testing.T) {
	for _, name := range Presets() {
		p := preset(t, name)
		for _, transport := range []Transport{TransportResetAfterSend, TransportTimeoutAfterSend} {
			if d := p.Decide(Outcome{Transport: transport}, Attempt{N: 1}); d.Class != ClassOutcomeUnknown || d.Action != ActionDeadLetter {
				t.Errorf("%s: %s: got %+v", name, transport, d)
			}
		}
	}
}

func TestACodeIsAnErrorInEverySpelling(t *testing.T) {
	p := preset(t, "patsnap")
	for _, code := range []string{"67200001", "67200001.0", " 67200001 ", "067200001", "6.7200001e7", "+67200001"} {
		d := p.Decide(Outcome{Status: 200, Flag: FlagTrue, Code: code}, Attempt{N: 1})
		if d.Class != ClassQuota || d.Action != ActionPark || d.Circuit.Hold != "quota" {
			t.Errorf("code %q: %+v", code, d)
		}
	}
	for _, code := range []string{"", "0", "0.0", "000", "-0", "0e5"} {
		if d := p.Decide(Outcome{Status: 200, Flag: FlagTrue, Code: code}, Attempt{N: 1}); d.Class != ClassOK || !d.Circuit.Success {
			t.Errorf("code %q: %+v", code, d)
		}
	}
}

func TestTheZeroOutcomeIsUnknown(t *testing.T) {
	for _, name := range Presets() {
		if d := preset(t, name).Decide(Outcome{}, Attempt{}); d.Class != ClassUnknown || d.Action != ActionRetry || d.Backoff != "brief" {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

func TestARetryThatIsUsedUpKeepsItsClass(t *testing.T) {
	p := preset(t, "patsnap")
	fault := Outcome{Status: 200, Flag: FlagFalse, Code: "68300008"}
	for _, c := range []struct {
		n    int
		age  time.Duration
		over bool
	}{{0, 0, false}, {5, 0, false}, {6, 0, true}, {7, 0, true}, {1, 24 * time.Hour, false}, {1, 24*time.Hour + 1, true}} {
		d := p.Decide(fault, Attempt{N: c.n, Age: c.age})
		if d.Exhausted != c.over || (d.Action == ActionDeadLetter) != c.over || d.Class != ClassTransient || d.Circuit.Effect != EffectCount {
			t.Errorf("attempt %d, age %s: got %+v", c.n, c.age, d)
		}
	}
	once := parse(t, "extends: patsnap\nbackoffs: {standard: {attempts: 1}}")
	if d := once.Decide(fault, Attempt{}); !d.Exhausted {
		t.Errorf("attempts: 1 allowed a second attempt: %+v", d)
	}
}

func TestARetryWaitsAtLeastAsTheServerAsked(t *testing.T) {
	reset := parse(t, `extends: http
backoffs:
  standard: {sources: [retry-after, ratelimit-reset], max_age: 100h}
  brief: {sources: []}
`)
	for name, c := range map[string]struct {
		policy *Policy
		o      Outcome
		age    time.Duration
		wait   time.Duration
		over   bool
	}{
		"seconds":                     {o: Outcome{Status: 503, Header: headers("Retry-After", "25")}, wait: 25 * time.Second},
		"a date":                      {o: Outcome{Status: 500, Header: headers("Retry-After", "Sun, 01 Mar 2026 13:00:00 GMT")}, wait: time.Hour},
		"milliseconds":                {o: Outcome{Status: 503, Header: headers("Retry-After-Ms", "1500")}, wait: 1500 * time.Millisecond},
		"a brief backoff too":         {o: Outcome{Status: 418, Header: headers("Retry-After", "25")}, wait: 25 * time.Second},
		"an answer that broke off":    {o: Outcome{Transport: TransportTimeoutAfterSend, Header: headers("Retry-After", "25")}, wait: 25 * time.Second},
		"no such header":              {o: Outcome{Status: 503, Header: headers("Content-Type", "a/b")}},
		"a wait of 0":                 {o: Outcome{Status: 503, Header: headers("Retry-After", "0")}},
		"a date in the past":          {o: Outcome{Status: 503, Header: headers("Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT")}},
		"a reset that is not read":    {o: Outcome{Status: 503, Header: headers("X-RateLimit-Reset", "60")}},
		"a reset that is read":        {policy: reset, o: Outcome{Status: 503, Header: headers("X-RateLimit-Reset", "60", "Retry-After", "5")}, wait: time.Minute},
		"a limit that is not used up": {policy: reset, o: Outcome{Status: 503, Header: headers("RateLimit", `"a";r=1;t=60`)}},
		"sources that are empty":      {policy: reset, o: Outcome{Status: 418, Header: headers("Retry-After", "25")}},
		"just within max_age":         {o: Outcome{Status: 503, Header: headers("Retry-After", "3600")}, age: 23 * time.Hour, wait: time.Hour},
		"beyond max_age":              {o: Outcome{Status: 503, Header: headers("Retry-After", "3601")}, age: 23 * time.Hour, wait: 3601 * time.Second, over: true},
		"beyond all bounds":           {o: Outcome{Status: 503, Header: headers("Retry-After", "99999999999999999999")}, wait: 25 * time.Hour, over: true},
		"25 hours at most":            {policy: reset, o: Outcome{Status: 503, Header: headers("Retry-After", "9999999")}, wait: 25 * time.Hour},
		"a park has a hold instead":   {o: Outcome{Status: 429, Header: headers("Retry-After", "25")}},
		"a dead letter does not wait": {o: Outcome{Status: 401, Header: headers("Retry-After", "25")}},
	} {
		p := c.policy
		if p == nil {
			p = preset(t, "http")
		}
		c.o.ReceivedAt = noon
		d := p.Decide(c.o, Attempt{N: 1, Age: c.age, Idempotent: true})
		if d.LeastWait != c.wait || d.Exhausted != c.over || c.over && (d.Action != ActionDeadLetter || d.Class != ClassTransient) {
			t.Errorf("%s: got %+v, want a wait of %s, exhausted %v", name, d, c.wait, c.over)
		}
	}
}

func TestNoMessageContainsARawCode(t *testing.T) {
	digits := regexp.MustCompile(`[0-9]{3}`)
	for _, name := range Presets() {
		p := preset(t, name)
		for i := range p.rules {
			d := p.rules[i].decision
			if d.Message == "" || d.Advice == "" || digits.MatchString(d.Message) {
				t.Errorf("%s: rule %s: message %q, advice %q", name, d.Rule, d.Message, d.Advice)
			}
		}
	}
	for _, c := range classes {
		if c.Message() == "" || c.Advice() == "" || digits.MatchString(c.Message()) {
			t.Errorf("class %s: message %q, advice %q", c, c.Message(), c.Advice())
		}
	}
}

func TestPresetsHaveTheStandardPartsAndNoCalendar(t *testing.T) {
	for _, name := range Presets() {
		p := preset(t, name)
		for _, hold := range []string{"quota", "rate", "permission", "credential", "outage"} {
			h, ok := p.Hold(hold)
			if !ok || h.Calendar != nil || slices.Contains(h.Sources, SourceCalendar) && hold != "quota" {
				t.Errorf("%s: hold %s: %+v", name, hold, h)
			}
		}
		if h, _ := p.Hold("rate"); h.Ladder[0] != time.Second {
			t.Errorf("%s: the rate ladder starts at %s, want 1s", name, h.Ladder[0])
		}
		if b, _ := p.Backoff("standard"); !reflect.DeepEqual(b, Backoff{Floor: time.Second, Base: 2 * time.Second, Cap: 10 * time.Minute, Attempts: 6, MaxAge: 24 * time.Hour, Sources: []Source{SourceRetryAfter}}) {
			t.Errorf("%s: standard is %+v", name, b)
		}
		if b, _ := p.Backoff("brief"); b.Attempts != 3 || !slices.Equal(b.Sources, []Source{SourceRetryAfter}) {
			t.Errorf("%s: brief is %+v", name, b)
		}
		if p.Breaker() != (Breaker{30 * time.Second, 20, 0.5}) || p.Name() != name {
			t.Errorf("%s: got %+v", p.Name(), p.Breaker())
		}
	}
}

func TestChangingAReturnedHoldDoesNotChangeThePolicy(t *testing.T) {
	p := preset(t, "patsnap")
	h, _ := p.Hold("rate")
	b, _ := p.Backoff("brief")
	h.Ladder[0], b.Sources[0] = time.Hour, SourceRateLimitReset
	if again, _ := p.Backoff("brief"); again.Sources[0] != SourceRetryAfter {
		t.Error("the policy's backoff changed")
	}
	if again, _ := p.Hold("rate"); again.Ladder[0] != time.Second {
		t.Error("the policy's hold changed")
	}
}

func TestUserMessageSaysWhenOrLater(t *testing.T) {
	at := time.Date(2026, 3, 1, 8, 0, 0, 1, time.FixedZone("CST", 8*3600))
	for message, want := range map[string][2]string{
		"Try at {resumes_at}.":             {"Try at 2026-03-01 00:00:01 UTC.", "Try later."},
		"Try after {resumes_at}.":          {"Try after 2026-03-01 00:00:01 UTC.", "Try later."},
		"Resumes: {resumes_at}":            {"Resumes: 2026-03-01 00:00:01 UTC", "Resumes: later"},
		"Nothing to fill in {resumes at}.": {"Nothing to fill in {resumes at}.", "Nothing to fill in {resumes at}."},
	} {
		d := Decision{Message: message}
		if got := d.UserMessage(at); got != want[0] {
			t.Errorf("got %q, want %q", got, want[0])
		}
		if got := d.UserMessage(time.Time{}); got != want[1] {
			t.Errorf("got %q, want %q", got, want[1])
		}
	}
}

func TestExplainSaysWhyEachEarlierRuleDidNotMatch(t *testing.T) {
	p := preset(t, "patsnap")
	o := Outcome{Status: 503, Body: BodyHTML}
	e := p.Explain(o, Attempt{Idempotent: true, N: 1})
	if e.Decision != p.Decide(o, Attempt{Idempotent: true, N: 1}) || e.Decision.Rule != "http-fault" {
		t.Fatalf("got the decision %+v", e.Decision)
	}
	if !strings.HasPrefix(e.Where, "patsnap (preset):") || len(e.Missed) != slices.Index(p.Rules(), "http-fault") {
		t.Errorf("got the rule at %s after %d others", e.Where, len(e.Missed))
	}
	want := map[string]Miss{
		"ok":                  {Field: "http", Wanted: `["2xx"]`, Got: "503"},
		"total-limit":         {Field: "code", Wanted: "[67200001]", Got: "none"},
		"http-gateway-unsafe": {Field: "http", Wanted: "[502, 504, 520, 524]", Got: "503"},
	}
	for _, m := range e.Missed {
		if w, ok := want[m.Rule]; ok && (m.Field != w.Field || m.Wanted != w.Wanted || m.Got != w.Got) {
			t.Errorf("rule %s: %+v", m.Rule, m)
		}
	}
	timeout := p.Explain(Outcome{Transport: TransportTimeoutAfterSend}, Attempt{N: 1})
	last := timeout.Missed[len(timeout.Missed)-1]
	if last.Rule != "no-answer" || last.Field != "idempotent" || last.Wanted != "true" || last.Got != "false" {
		t.Errorf("the last miss is %+v", last)
	}
	if first := timeout.Missed[0]; first.Field != "http" || first.Got != "no answer (timeout_after_send)" {
		t.Errorf("the first miss is %+v", first)
	}
}

func TestExplainDescribesEveryField(t *testing.T) {
	p := parse(t, `rules:
  - {id: all, match: {code: [1], transport: [dns], http: [200], status_flag: "true", body: [html], idempotent: true,
     conditional: true, limit_used_up: true, endpoint: ["GET /a"], header: {x-reason: "^b$"}, where: {"$.a": present}, message: "^c$"}}
`)
	m := &p.rules[0].match
	for _, transport := range []Transport{"", TransportDNS, "other"} {
		o, a := Outcome{Transport: transport, Message: "a\x1b[2J" + strings.Repeat("é", 200)}, Attempt{}
		in := newInput(&o, &a)
		for f := fieldCode; f < fieldEnd; f <<= 1 {
			got := in.got(f, m, transport)
			if f.String() == "" || m.shown[f] == "" || got == "" || strings.Contains(got, "\x1b") || len(got) > 300 {
				t.Errorf("field %s: wanted %q, got %q", f, m.shown[f], got)
			}
		}
	}
}

// commonPaths are common outcomes: a success, the first and the last of the codes, a
// status, a timeout, and a code that no rule names.
var commonPaths = []struct {
	name    string
	outcome Outcome
}{
	{"Success", Outcome{Status: 200, Flag: FlagTrue, Body: BodyEnvelope}},
	{"Quota", Outcome{Status: 200, Flag: FlagFalse, Body: BodyEnvelope, Code: "67200001"}},
	{"Float", Outcome{Status: 200, Flag: FlagFalse, Body: BodyEnvelope, Code: "68300008.0"}},
	{"Status", Outcome{Status: 503, Body: BodyHTML}},
	{"Timeout", Outcome{Transport: TransportTimeoutAfterSend}},
	{"Unknown", Outcome{Status: 200, Flag: FlagFalse, Body: BodyEnvelope, Code: "12345678"}},
	{"Message", Outcome{Status: 200, Flag: FlagFalse, Body: BodyEnvelope, Code: "67200000", Message: "over the limit"}},
}

func TestDecideDoesNotAllocate(t *testing.T) {
	p := preset(t, "patsnap")
	a := Attempt{Method: "GET", Endpoint: "GET /search/*", Idempotent: true, N: 1}
	for _, c := range commonPaths {
		// With the race detector, a sync.Pool (package regexp has one) drops some items
		// at random: less than one in a run, on average.
		if n := testing.AllocsPerRun(2000, func() { sink = p.Decide(c.outcome, a) }); n != 0 {
			t.Errorf("%s: %v allocations", c.name, n)
		}
	}
}

var sink Decision

func BenchmarkDecide(b *testing.B) {
	p := preset(b, "patsnap")
	a := Attempt{Method: "GET", Endpoint: "GET /search/*", Idempotent: true, N: 1}
	for _, c := range commonPaths {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink = p.Decide(c.outcome, a)
			}
		})
	}
}
