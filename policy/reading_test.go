package policy

import (
	"net/http"
	"slices"
	"testing"
)

func TestReadingsNameThePlaceOfEachValue(t *testing.T) {
	p := parse(t, readsMuch+`
holds:
  quota: {sources: [{from: "$.wait_ms", format: milliseconds}, {from: "header x-wait", format: seconds}, ladder]}
pace:
  - {remaining: "header x-left", reset: {from: "$.reset"}}
`)
	r := Response{
		Status: 429, Header: http.Header{"X-Left": {"0"}, "X-Trace": {"t-2"}},
		Body: []byte(`{"ok": false, "error": {"type": "busy"}, "note": "later", "errors": [{"code": "A"}, {"code": "B"}], "wait_ms": 50}`),
	}
	want := []Reading{
		{ReadingCode, "$.error.type", "busy"},
		{ReadingMessage, "$.note", "later"},
		{ReadingOK, "$.ok", "false"},
		{ReadingCorrelationID, "header x-trace", "t-2"},
		{ReadingWhere, "$.errors[*].code", "A, B"},
		{ReadingWhere, "header x-left", "0"},
		{ReadingSources, "$.wait_ms", "50"},
		{ReadingPace, "header x-left", "0"},
	}
	if got := p.Readings(r); !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	if got := p.Readings(Response{Transport: TransportDNS}); got != nil {
		t.Errorf("without an answer: got %v", got)
	}
}

func TestReadingsSayWhatWasTriedAndWhatWasFoundElsewhere(t *testing.T) {
	p := parse(t, readsMuch)
	got := p.Readings(Response{Status: 500, Header: http.Header{"X-Request-Id": {"r-1"}}, Body: []byte(`{"message": "broken"}`)})
	want := []Reading{
		{ReadingCode, "$.error.code, $.error.type, header x-error-code", ""},
		{ReadingMessage, CommonErrorFormats, "broken"},
		{ReadingOK, "$.ok", ""},
		{ReadingCorrelationID, "header x-request-id", "r-1"},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%v\nwant\n%v", got, want)
	}
	got = preset(t, "http").Readings(Response{Status: 200})
	want = []Reading{{What: ReadingCode}, {What: ReadingMessage}, {What: ReadingOK}, {What: ReadingCorrelationID}}
	if !slices.Equal(got, want) {
		t.Errorf("a policy that reads nothing: got\n%v\nwant\n%v", got, want)
	}
}
