package policy

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

func TestAHoldSaysWhatItsSourcesCouldNotRead(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := parse(t, `
extends: http
read: {message: ["$.text"]}
holds:
  slow:
    sources: [{from: "$.again", format: duration}, {from: message, find: "in ([0-9]+)s"}, {from: "header x-wait"}, {from: body, find: "at (.*) UTC"}, ladder]
    max: 25h
    ladder: [30s]
backoffs:
  standard: {sources: [{from: "$.again", format: seconds}]}
`)
	hold, _ := p.Hold("slow")
	backoff, _ := p.Backoff("standard")
	again, message, header, body := Source(`{from: "$.again", format: duration}`), Source(`{from: message, find: "in ([0-9]+)s"}`),
		Source(`{from: "header x-wait"}`), Source(`{from: "body", find: "at (.*) UTC"}`)
	for _, tt := range []struct {
		header, body string
		source       Source
		asked        time.Duration
		want         []UnreadWait
	}{
		{"", `{"again": "PT1.8S"}`, SourceLadder, 30 * time.Second, []UnreadWait{{again, "PT1.8S", "duration", false}}},
		{"", `{"again": "1.8s"}`, again, 1800 * time.Millisecond, nil},
		{"", `{"again": "later", "text": "wait"}`, SourceLadder, 30 * time.Second, []UnreadWait{{again, "later", "duration", false}, {message, "wait", "", true}}},
		{"soon", `{}`, SourceLadder, 30 * time.Second, []UnreadWait{{header, "soon", "", false}}},
		{"200000", `{"again": "x"}`, header, 200000 * time.Second, []UnreadWait{{again, "x", "duration", false}}}, // beyond max
		{"", `closed, at noon UTC`, SourceLadder, 30 * time.Second, []UnreadWait{{message, "closed, at noon UTC", "", true}, {body, "noon", "", false}}},
	} {
		h := http.Header{}
		if tt.header != "" {
			h.Set("X-Wait", tt.header)
		}
		o := p.ReadAnswer(Response{Status: 503, Header: h, Body: []byte(tt.body)})
		o.ReceivedAt = now
		_, source := hold.Until(o, now, 0, nil)
		if got := hold.Unread(o, source); source != tt.source || !slices.Equal(got, tt.want) {
			t.Errorf("%s: source %s, unread %v, want %s, %v", tt.body, source, got, tt.source, tt.want)
		}
		if asked := hold.Asked(o, now, 0); asked != tt.asked {
			t.Errorf("%s: the source asks for %s, want %s", tt.body, asked, tt.asked)
		}
	}
	o := p.ReadAnswer(Response{Status: 503, Body: []byte(`{"again": "PT1.8S"}`)})
	if got, want := backoff.Unread(o), []UnreadWait{{`{from: "$.again", format: seconds}`, "PT1.8S", "seconds", false}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
