package policy

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// readsText reads the text of bodies that are not JSON.
const readsText = `
extends: http
read:
  code: ["$.code", {from: body, find: "<c>([A-Z_]+)</c>"}, {from: "header www-authenticate", find: 'error="([a-z_]+)"'}]
  message: [{from: body, find: "(?s)<t>(.*?)</t>"}]
  correlation_id: [{from: body, find: "trace ([0-9a-f]+)"}]
holds:
  cleaning: {sources: [{from: body, find: "back in ([0-9]+) minutes", format: duration}, {from: body, find: "back in ([0-9]+)s", format: seconds}, ladder], ladder: [17s]}
rules:
  - {id: token-old, match: {code: [TOKEN_OLD, invalid_token]}, class: auth, refresh: true, job: dead_letter}
  - {id: cleaning, match: {http: [503], where: {body: "(?i)closed|cleaning"}}, class: transient, job: park, circuit: {hold: cleaning}}
  - {id: some-text, match: {http: ["2xx"], where: {body: present}}, class: protocol, job: dead_letter}
  - {id: no-text, match: {http: [418], where: {body: absent}}, job: drop}
`

func TestTheTextOfABodyThatIsNotJSONIsRead(t *testing.T) {
	p := parse(t, readsText)
	for _, tt := range []struct {
		status                  int
		header, body            string
		code, message, id, rule string
	}{
		{400, "", `<e><c>TOKEN_OLD</c><t>log in again</t></e>`, "TOKEN_OLD", "log in again", "", "token-old"},
		{400, "", `<e><c>BAD_LAT</c></e>`, "BAD_LAT", "", "", "bad-request"},
		{400, "", "<html><h1>Sorry</h1><c>TOKEN_OLD</c>", "TOKEN_OLD", "Sorry", "", "token-old"},
		{400, "", "<e><c>A</c>\n<t>two\nlines</t> trace 4f1c</e>", "A", "two lines", "4f1c", "bad-request"},
		{400, "", `{"code": "TOKEN_OLD"}`, "TOKEN_OLD", "", "", "token-old"},
		{400, "", `{"text": "<c>TOKEN_OLD</c>"}`, "", "", "", "bad-request"}, // JSON is not text
		{401, `Bearer realm="x", error="invalid_token"`, "", "invalid_token", "", "", "token-old"},
		{401, `Bearer realm="x"`, "", "", "", "", "unauthorized"},
		{503, "", "Closed for the night.", "", "Closed for the night.", "", "cleaning"},
		{503, "", "Come again.", "", "Come again.", "", "fault"},
		{200, "", "OK", "", "", "", "some-text"},
		{200, "", "{}", "", "", "", "ok"},
		{200, "", " \n ", "", "", "", "ok"},
		{418, "", "", "", "", "", "no-text"},
		{418, "", "tea", "", "tea", "", "other-refusal"},
	} {
		header := http.Header{}
		if tt.header != "" {
			header.Set("WWW-Authenticate", tt.header)
		}
		o := p.ReadAnswer(Response{Status: tt.status, Header: header, Body: []byte(tt.body)})
		d := p.Decide(o, Attempt{Method: "GET", N: 1})
		if o.Code != tt.code || o.Message != tt.message || o.CorrelationID != tt.id || d.Rule != tt.rule {
			t.Errorf("%d %s %s:\n got code %q, message %q, id %q, rule %s\nwant code %q, message %q, id %q, rule %s", tt.status, tt.header, tt.body,
				o.Code, o.Message, o.CorrelationID, d.Rule, tt.code, tt.message, tt.id, tt.rule)
		}
	}
}

func TestAHoldEndsWhenTheTextOfABodySays(t *testing.T) {
	p := parse(t, readsText)
	h, _ := p.Hold("cleaning")
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for body, want := range map[string]time.Duration{
		"<html>cleaning, back in 90s":                                   90 * time.Second,
		"<html>cleaning" + strings.Repeat(" ", 200<<10) + "back in 90s": 90 * time.Second,
		"<html>cleaning" + strings.Repeat(" ", 300<<10) + "back in 90s": 17 * time.Second, // beyond what is searched
		"<html>cleaning":          17 * time.Second,
		`{"text": "back in 90s"}`: 17 * time.Second,
	} {
		o := p.ReadAnswer(Response{Status: 503, Body: []byte(body)})
		o.ReceivedAt = now
		if until, _ := h.Until(o, now, 0, nil); until.Sub(now) != want {
			t.Errorf("%.40s…: the hold lasts %s, want %s", body, until.Sub(now), want)
		}
	}
}

func TestReadingsShowWhatWasReadOfAText(t *testing.T) {
	got := parse(t, readsText).Readings(Response{Status: 503, Body: []byte("<c>SHUT</c> Closed, back in 90s.")})
	want := []Reading{
		{ReadingCode, `{from: "body", find: "<c>([A-Z_]+)</c>"}`, "SHUT"},
		{ReadingMessage, `{from: "body", find: "(?s)<t>(.*?)</t>"}`, ""},
		{ReadingOK, "", ""},
		{ReadingCorrelationID, `{from: "body", find: "trace ([0-9a-f]+)"}`, ""},
		{ReadingWhere, `body: "(?i)closed|cleaning"`, "Closed"},
		{ReadingWhere, "body", "<c>SHUT</c> Closed, back in 90s."},
		{ReadingSources, `{from: "body", find: "back in ([0-9]+)s"}`, "90"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
}

func TestARuleOutsideAPolicyReadsTheTextOfABody(t *testing.T) {
	m, err := ParseMatch(`{http: ["2xx"], where: {body: "<state>(DONE)</state>"}}`)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{"<o><state>DONE</state></o>": true, "<o><state>NEW</state></o>": false, `{"a": "<state>DONE</state>"}`: false} {
		var p *Policy
		o := p.ReadAnswer(Response{Status: 200, Body: []byte(body)})
		if got := m.Fits(o, []byte(body), Attempt{}); got != want {
			t.Errorf("%s: got %v", body, got)
		}
	}
}

func TestShowKeepsThePlacesOfAText(t *testing.T) {
	p := parse(t, readsText)
	shown := string(p.YAML())
	again, err := Parse("again.yaml", []byte(shown))
	if err != nil {
		t.Fatalf("%v\n%s", err, shown)
	}
	if second := string(again.YAML()); trimFrom(second) != trimFrom(shown) {
		t.Errorf("it reads back as\n%s\nwant\n%s", second, shown)
	}
	o := again.ReadAnswer(Response{Status: 400, Body: []byte("<c>TOKEN_OLD</c>")})
	if d := again.Decide(o, Attempt{}); d.Rule != "token-old" {
		t.Errorf("got rule %s", d.Rule)
	}
}

func TestAPolicyThatNamesNoTextDoesNotLookAtIt(t *testing.T) {
	p := parse(t, "extends: http\nread: {code: [\"$.a\"]}\n")
	body := []byte(strings.Repeat("<c>X</c>", 1<<17))
	if n := testing.AllocsPerRun(10, func() { p.read(&Outcome{}, nil, body) }); n != 0 {
		t.Errorf("reading a text allocates %v times", n)
	}
}
