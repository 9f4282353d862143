package policy

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"
)

const keepingPolicy = `version: 1
name: keeping
extends: http
read: {code: ["header x-error-code", "$.error"]}
pace: [{remaining: "header x-left", reset: {from: "header x-reset"}}]
rules:
  - {id: busy, match: {where: {"$.reason": "^busy$"}, header: {X-Kind: "^a$"}}, job: park}
`

func TestKeptHasWhatThePolicyNamesAndNothingElse(t *testing.T) {
	p, err := Parse("keeping.yaml", []byte(keepingPolicy))
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{
		"X-Error-Code": {"7"}, "X-Left": {"0"}, "X-Reset": {"9"}, "X-Kind": {"a"}, "Retry-After": {"3"},
		"X-Ratelimit-Remaining": {"0"}, "Date": {"Mon, 02 Jan 2006 15:04:05 GMT"}, "X-Other": {"secret"}, "Set-Cookie": {"s=1"},
	}
	o := p.ReadAnswer(Response{Status: 429, Header: header, Body: []byte(`{"reason": "busy", "other": 1}`)})
	k := p.Kept(o, Attempt{Age: 1500 * time.Millisecond, Idempotent: true})
	for _, name := range []string{"X-Other", "Set-Cookie"} {
		if k.Header[name] != nil {
			t.Errorf("it has %s", name)
		}
		delete(header, name)
	}
	if !reflect.DeepEqual(k.Header, header) {
		t.Errorf("got the headers %v, want %v", k.Header, header)
	}
	if want := map[string][]string{"$.reason": {"busy"}}; !reflect.DeepEqual(k.Found, want) || k.Partial {
		t.Errorf("got %v, partial %t, want %v", k.Found, k.Partial, want)
	}
	if got := k.Attempt(); got != (Attempt{Age: 1500 * time.Millisecond, Idempotent: true}) {
		t.Errorf("got the attempt %+v", got)
	}
}

func TestWhatWasKeptIsJudgedAsTheAnswerWas(t *testing.T) {
	p, err := Parse("keeping.yaml", []byte(keepingPolicy))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, r := range []Response{
		{Status: 429, Header: http.Header{"X-Kind": {"a"}, "Retry-After": {"9"}}, Body: []byte(`{"reason": "busy"}`)},
		{Status: 429, Header: http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"30"}}},
		{Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}}},
		{Status: 200, Body: []byte("half"), Cut: true},
		{Status: 400, Body: []byte(`{"error": "odd"}`)},
		{Transport: TransportDNS},
	} {
		o, a := p.ReadAnswer(r), Attempt{Method: "GET", Endpoint: "GET /x", N: 1, Idempotent: true}
		o.ReceivedAt = now
		data, err := json.Marshal(p.Kept(o, a))
		if err != nil {
			t.Fatal(err)
		}
		var k Kept
		if err := json.Unmarshal(data, &k); err != nil {
			t.Fatal(err)
		}
		again, about := k.Outcome(), k.Attempt()
		again.Transport, again.ReceivedAt = r.Transport, now
		about.Method, about.Endpoint, about.N = a.Method, a.Endpoint, a.N
		want, got := p.Decide(o, a), p.Decide(again, about)
		if got != want {
			t.Errorf("%+v: got %+v from %s, want %+v", r, got, data, want)
		}
		hold, _ := p.Hold("quota")
		at, _ := hold.Until(o, now, 0, nil)
		if again, _ := hold.Until(again, now, 0, nil); !again.Equal(at) {
			t.Errorf("%+v: held until %v, want %v", r, again, at)
		}
	}
}

// What is kept is bounded, whatever the API sends.
func FuzzKeptIsBounded(f *testing.F) {
	p, err := Parse("keeping.yaml", []byte(keepingPolicy))
	if err != nil {
		f.Fatal(err)
	}
	f.Add("busy", "a", 1)
	f.Add("<\x01\xff\"", "<>", 5000)
	f.Fuzz(func(t *testing.T, text, header string, times int) {
		long := strings.Repeat(text, min(max(times, 0), 10000)%10000)
		o := Outcome{
			Status: 429, Code: CanonicalCode(long[:min(len(long), maxCode)]), Message: long,
			Header: http.Header{"X-Kind": {strings.Repeat(header, 50), header}, "Retry-After": {long}},
			Found:  map[string][]string{"$.reason": {long, text}, "$.b": {text}},
		}
		k := p.Kept(o, Attempt{})
		data, err := json.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		if len(data) > maxKept {
			t.Fatalf("%d bytes are kept, want %d at most: %s", len(data), maxKept, data)
		}
	})
}
