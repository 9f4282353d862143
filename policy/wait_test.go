package policy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// holdWith loads a policy whose hold quota has one source.
func holdWith(t testing.TB, source string) (*Policy, Hold) {
	t.Helper()
	p, err := Parse("my.yaml", []byte("holds:\n  quota: {sources: ["+source+", ladder], ladder: [17s]}\n"))
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	h, _ := p.Hold("quota")
	return p, h
}

func TestAHoldEndsWhenAPlaceOfTheAnswerSays(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		source, header, body string
		want                 time.Duration // 0: the source is silent
	}{
		{`{from: "header x-reset", format: duration}`, "6m0s", "", 6 * time.Minute},
		{`{from: "header x-reset", format: duration}`, "12ms", "", 12 * time.Millisecond},
		{`{from: "header x-reset", format: duration}`, "12", "", 0},
		{`{from: "header x-reset", format: seconds}`, "3.5", "", 3500 * time.Millisecond},
		{`{from: "header x-reset", format: seconds}`, "soon", "", 0},
		{`{from: "header x-reset", format: milliseconds}`, "1500", "", 1500 * time.Millisecond},
		{`{from: "header x-reset", format: epoch}`, "1772366520", "", 2 * time.Minute},
		{`{from: "header x-reset", format: epoch_ms}`, "1772366520250", "", 2*time.Minute + 250*time.Millisecond},
		{`{from: "header x-reset", format: rfc3339}`, "2026-03-01T13:02:00+01:00", "", 2 * time.Minute},
		{`{from: "header x-reset", format: rfc3339}`, "2026-03-01 12:02", "", 0},
		{`{from: "header x-reset", format: http_date}`, "Sun, 01 Mar 2026 12:02:00 GMT", "", 2 * time.Minute},
		{`{from: "header x-reset"}`, "1772366520", "", 2 * time.Minute},
		{`{from: "header x-reset"}`, "90", "", 90 * time.Second},
		{`{from: "header x-reset", find: "([0-9]+) minutes", format: seconds}`, "in 3 minutes", "", 3 * time.Second},
		{`{from: "$.error.details[*].retryDelay", format: duration}`, "", `{"error": {"details": [{"x": 1}, {"retryDelay": "13s"}, {"retryDelay": "5.5s"}]}}`, 13 * time.Second},
		{`{from: "$.error.details[*].retryDelay", format: duration}`, "", `{"error": {}}`, 0},
		{`{from: "$.retry_after", format: seconds}`, "", `{"retry_after": 2.5}`, 2500 * time.Millisecond},
		{`{from: message, find: "try again in ([0-9.]+)s", format: seconds}`, "", `{"error": {"message": "Limit reached. Please try again in 7.25s."}}`, 7250 * time.Millisecond},
		{`{from: message, find: "try again in ([0-9.]+)s", format: seconds}`, "", `{"error": {"message": "no"}}`, 0},
		{`{need: "$.c.requested", have: "$.c.available", per_second: "$.c.rate"}`, "", `{"c": {"requested": 252, "available": 52, "rate": 50}}`, 4 * time.Second},
		{`{need: "$.c.requested", have: "$.c.available", per_second: "$.c.rate"}`, "", `{"c": {"requested": 2, "available": 52, "rate": 50}}`, 0},
		{`{need: "$.c.requested", have: "$.c.available", per_second: "$.c.rate"}`, "", `{"c": {"requested": 252, "available": 52, "rate": 0}}`, 0},
		{`{need: "$.c.requested", have: "$.c.available", per_second: "$.c.rate"}`, "", `{"c": {"requested": 252, "rate": 50}}`, 0},
	} {
		p, h := holdWith(t, tt.source)
		header := http.Header{}
		if tt.header != "" {
			header.Set("X-Reset", tt.header)
		}
		o := p.ReadAnswer(Response{Status: 429, Header: header, Body: []byte(tt.body)})
		o.ReceivedAt = now
		until, source := h.Until(o, now, 0, nil)
		if tt.want == 0 {
			if source != SourceLadder {
				t.Errorf("%s of %q%s: got %s from %s, want the ladder", tt.source, tt.header, tt.body, until.Sub(now), source)
			}
			continue
		}
		if got := until.Sub(now); got != tt.want || source == SourceLadder {
			t.Errorf("%s of %q%s: got %s from %s, want %s", tt.source, tt.header, tt.body, got, source, tt.want)
		}
	}
}

func TestTheServersDatesAreMeasuredAgainstItsOwnClock(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p, h := holdWith(t, `{from: "header x-reset", format: epoch}`)
	o := p.ReadAnswer(Response{Status: 429, Header: http.Header{"Date": {"Sun, 01 Mar 2026 11:00:00 GMT"}, "X-Reset": {"1772362830"}}})
	o.ReceivedAt = now
	if until, _ := h.Until(o, now, 0, nil); until.Sub(now) != 30*time.Second {
		t.Errorf("held for %s", until.Sub(now))
	}
}

func TestARetryWaitsAtLeastAsLongAsAPlaceSays(t *testing.T) {
	p, err := Parse("my.yaml", []byte(`
backoffs:
  standard: {sources: [retry-after, {from: "$.wait", format: seconds}]}
rules:
  - {id: busy, match: {http: [503]}}
`))
	if err != nil {
		t.Fatal(err)
	}
	o := p.ReadAnswer(Response{Status: 503, Body: []byte(`{"wait": 40}`)})
	if d := p.Decide(o, Attempt{N: 1}); d.LeastWait != 40*time.Second {
		t.Errorf("waits %s", d.LeastWait)
	}
}

func TestEachMistakeInASourceIsNamed(t *testing.T) {
	for source, want := range map[string]string{
		`{}`:                            "is no source; write from",
		`{from: "$.a", need: "$.b"}`:    "write two sources",
		`{need: "$.a", have: "$.b"}`:    "all of need, have and per_second",
		`{from: message}`:               "needs find",
		`{from: message, find: "soon"}`: "without a group",
		`{from: "$.a", format: weeks}`:  "weeks",
		`{from: "$.a["}`:                "is not a JSONPath (RFC 9535)",
		`{from: "x"}`:                   "begins with $",
		`{from: "$.a", form: epoch}`:    `unknown key "form"`,
		`{need: "$.a", have: "$.b", per_second: "$.c", format: epoch}`: "which belong to from",
		`tomorrow`: "tomorrow",
	} {
		_, err := Parse("my.yaml", []byte("holds:\n  quota: {sources: ["+source+"]}\n"))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "my.yaml:2:") {
			t.Errorf("%s: got %v, want %q", source, err, want)
		}
	}
}

func FuzzWait(f *testing.F) {
	for _, format := range append(waitFormats, "") {
		for _, s := range []string{"1", "-1", "1e9", "6m0s", "99999999999999999999", "2026-03-01T13:02:00+01:00", "9999-12-31T23:59:59Z", "Sun, 01 Mar 2026 12:02:00 GMT", ""} {
			f.Add(string(format), s)
		}
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, format, text string) {
		w := answerWait{message: true, format: waitFormat(format)}
		h := Hold{Sources: []Source{"it"}, waits: map[Source]*answerWait{"it": &w}}
		until, _ := h.Until(Outcome{Message: text, ReceivedAt: now}, now, 0, nil)
		if until.Before(now) || until.Sub(now) > defaultMax {
			t.Fatalf("%s %q holds for %s", format, text, until.Sub(now))
		}
	})
}
