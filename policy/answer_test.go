package policy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

func patsnap(t testing.TB) *Policy {
	t.Helper()
	p, err := Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func read(p *Policy, status int, header http.Header, body []byte, cut bool) Outcome {
	return p.ReadAnswer(Response{Status: status, Header: header, Body: body, Cut: cut})
}

func TestEveryFormOfAnEnvelopeIsRead(t *testing.T) {
	const T, F, A = FlagTrue, FlagFalse, FlagAbsent
	tests := []struct {
		body    string
		kind    Body
		flag    Flag
		code    string
		message string
	}{
		{`{"status":true,"error_code":0,"data":{}}`, BodyEnvelope, T, "0", ""},
		{`{"status":true}`, BodyEnvelope, T, "", ""},
		{`{"status":"true","error_code":null}`, BodyEnvelope, T, "", ""},
		{`{"status":"False","error_code":""}`, BodyEnvelope, F, "", ""},
		{`{"status":false,"error_code":67200001,"error_msg":"m"}`, BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":67200001.0,"error_message":"m"}`, BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":6.7200001e7,"msg":"m"}`, BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":672000010E-1,"message":"m"}`, BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":"67200001"}`, BodyEnvelope, F, "67200001", ""},
		{`{"status":false,"error_code":" 067200001.00 "}`, BodyEnvelope, F, "67200001", ""},
		{`{"status":false,"error_code":9007199254740993}`, BodyEnvelope, F, "9007199254740993", ""},
		{`{"status":false,"error_code":123456789012345678901234567890}`, BodyEnvelope, F, "123456789012345678901234567890", ""},
		{`{"status":false,"error_code":-1}`, BodyEnvelope, F, "-1", ""},
		{`{"status":false,"error_code":1.50}`, BodyEnvelope, F, "1.5", ""},
		{`{"status":true,"error_code":"0.0"}`, BodyEnvelope, T, "0", ""},
		{`{"status":true,"error_code":-0e9}`, BodyEnvelope, T, "0", ""},
		{`{"status":true,"error_code":68300008}`, BodyEnvelope, T, "68300008", ""},
		{`{"stat\u0075s":true}`, BodyEnvelope, T, "", ""},
		{"\ufeff \n{\"status\":true}\n", BodyEnvelope, T, "", ""},
		// The first field with a text, independent of the order in the body.
		{`{"status":false,"message":"d","msg":"c","error_message":"b","error_msg":"a"}`, BodyEnvelope, F, "", "a"},
		{`{"status":false,"error_msg":"","message":"d"}`, BodyEnvelope, F, "", "d"},
		{`{"status":false,"error_msg":{"x":1},"msg":5,"message":"d"}`, BodyEnvelope, F, "", "d"},
		{`{"status":false,"error_msg":" a\r\n\u0000b "}`, BodyEnvelope, F, "", "a   b"},
		{`{"status":false,"error_msg":"\ud800x"}`, BodyEnvelope, F, "", "\ufffdx"},
		// If a field occurs twice, the last one counts.
		{`{"status":true,"status":false,"error_code":1,"error_code":2}`, BodyEnvelope, F, "2", ""},
		// A code that is not a number is a code, too.
		{`{"status":true,"error_code":"E_LIMIT","msg":"m"}`, BodyEnvelope, T, "E_LIMIT", "m"},
		{`{"status":true,"error_code":1e999999999}`, BodyEnvelope, T, "1e999999999", ""},
		{`{"status":true,"error_code":true}`, BodyEnvelope, T, "true", ""},
		{`{"status":true,"error_code":{"a":1}}`, BodyEnvelope, T, `{"a":1}`, ""},
		{`{"status":true,"error_code":[]}`, BodyEnvelope, T, "", ""},
		{`{"status":true,"error_code":false}`, BodyEnvelope, T, "", ""},
		// Not envelopes.
		{`{"error_code":67200001,"error_msg":"m"}`, BodyMalformed, A, "67200001", "m"},
		{`{"data":{"status":true}}`, BodyMalformed, A, "", ""},
		{`{"status":null}`, BodyMalformed, A, "", ""},
		{`{"status":"approved"}`, BodyMalformed, A, "", ""},
		{`{"status":1}`, BodyMalformed, A, "", ""},
		{`{"Status":true}`, BodyMalformed, A, "", ""},
		{`[{"status":true}]`, BodyMalformed, A, "", ""},
		{`{"status":true`, BodyMalformed, A, "", ""},
		{`{"status":true}}`, BodyMalformed, A, "", ""},
		{`{"status":tru}`, BodyMalformed, A, "", ""},
		{`true`, BodyMalformed, A, "", ""},
		{"\xff\xfe", BodyMalformed, A, "", ""},
		{`<?xml version="1.0"?><a/>`, BodyMalformed, A, "", ""},
		{"", BodyEmpty, A, "", ""},
		{" \r\n", BodyEmpty, A, "", ""},
		{"<!DOCTYPE html><title>x</title>", BodyHTML, A, "", ""},
		{"  <HTML>", BodyHTML, A, "", ""},
	}
	for _, tt := range tests {
		o := read(patsnap(t), 200, http.Header{}, []byte(tt.body), false)
		if o.Body != tt.kind || o.Flag != tt.flag || o.Code != tt.code || o.Message != tt.message {
			t.Errorf("%s:\n got %s %s %q %q\nwant %s %s %q %q", tt.body, o.Body, o.Flag, o.Code, o.Message, tt.kind, tt.flag, tt.code, tt.message)
		}
	}
}

func TestACutBodyIsNotParsed(t *testing.T) {
	o := read(patsnap(t), 200, http.Header{}, []byte(`{"status":true}`), true)
	if o.Body != BodyCut || o.Flag != FlagAbsent {
		t.Errorf("%+v", o)
	}
}

func TestTheMessageOfAProblemIsItsTitleAndDetail(t *testing.T) {
	h := http.Header{"Content-Type": {"application/problem+json; charset=utf-8"}}
	for body, want := range map[string]string{
		`{"type":"about:blank","title":"Not Found","status":404,"detail":"no such patent"}`: "Not Found: no such patent",
		`{"title":"Not Found"}`:                    "Not Found",
		`{"detail":"d"}`:                           "d",
		`{"title":"t","detail":"d","message":"m"}`: "m",
	} {
		o := read(patsnap(t), 404, h, []byte(body), false)
		if o.Message != want || o.Body != BodyMalformed || o.Flag != FlagAbsent || o.Code != "" {
			t.Errorf("%s: %+v", body, o)
		}
	}
	if o := read(patsnap(t), 200, http.Header{}, []byte(`{"status":true,"title":"a book"}`), false); o.Message != "" {
		t.Errorf("got the message %q from the title of a success, want none", o.Message)
	}
}

func TestTheCorrelationIDComesFromTheBestHeader(t *testing.T) {
	h := http.Header{}
	for _, step := range []struct{ name, value, want string }{
		{"Request-Id", "c", "c"}, {"X-Request-Id", "b", "b"}, {"X-Correlation-Id", "a\xff", "a\ufffd"},
	} {
		h.Set(step.name, step.value)
		if got := read(patsnap(t), 200, h, nil, false).CorrelationID; got != step.want {
			t.Errorf("with %s: %q, want %q", step.name, got, step.want)
		}
	}
	h.Set("X-Correlation-Id", strings.Repeat("\u00e9", 1000))
	if got := read(patsnap(t), 200, h, nil, false).CorrelationID; len(got) > maxID || !utf8.ValidString(got) {
		t.Errorf("%d bytes kept", len(got))
	}
}

func TestAHugeOrDeeplyNestedBodyIsReadWithinLimits(t *testing.T) {
	const n = 4 << 20
	for name, body := range map[string]string{
		"brackets":        strings.Repeat("[", n),
		"objects":         strings.Repeat(`{"a":`, n/5),
		"closed brackets": strings.Repeat("[", n/2) + strings.Repeat("]", n/2),
		"a digit row":     `{"status":false,"error_code":` + strings.Repeat("9", n) + `}`,
		"a zero row":      `{"status":false,"error_code":"` + strings.Repeat("0", n) + `1"}`,
		"escapes":         `{"status":false,"error_msg":"` + strings.Repeat(`\u00e9`, n/6) + `"}`,
		"one key often":   `{` + strings.Repeat(`"status":true,`, n/14) + `"status":false}`,
		"quotes":          strings.Repeat(`"`, n),
		"an open text":    `{"` + strings.Repeat(`\`, n),
	} {
		o := read(patsnap(t), 200, http.Header{}, []byte(body), false)
		if len(o.Message) > maxMessage || len(o.Code) > 2*64+3 {
			t.Errorf("%s: kept %d bytes of message, %d of code", name, len(o.Message), len(o.Code))
		}
	}
	nested := `{"status":true,"data":` + strings.Repeat("[", 256-1) + strings.Repeat("]", 256-1) + `}`
	if o := read(patsnap(t), 200, http.Header{}, []byte(nested), false); o.Flag != FlagTrue {
		t.Errorf("nesting of %d: %+v", 256, o)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`{"status":true,"error_code":0}`, `{"status":"false","error_code":"67200001","msg":"x"}`, `{"error_code":6.72e7}`, `{"error_code":1e-9}`,
		`{"status":false,"error_code":{"a":[1]}}`, `{"status":`, `[[[[`, `<html>`, "\xef\xbb\xbf{}", `{"error_msg":"\ud800\udc00\ud800"}`, "{\"msg\":\"\xff\"}",
	} {
		f.Add(200, "application/json", []byte(s), false)
	}
	f.Add(404, "application/problem+json", []byte(`{"title":"t","detail":"d","status":404}`), false)
	f.Add(500, "text/plain", []byte("oh no\x00\xff"), true)
	f.Fuzz(func(t *testing.T, status int, contentType string, body []byte, cut bool) {
		h := http.Header{"Content-Type": {contentType}, "X-Correlation-Id": {contentType}}
		o := read(patsnap(t), status, h, body, cut)
		for _, s := range []string{o.Message, o.CorrelationID, o.Code} {
			if !utf8.ValidString(s) || len(s) > maxMessage || !httpsyntax.IsPrintable(s, false) {
				t.Fatalf("kept %q", s)
			}
		}
		if again := CanonicalCode(o.Code); again != o.Code && o.Code != "0" {
			t.Fatalf("code %q has the canonical form %q", o.Code, again)
		}
		if (o.Body == BodyEnvelope) && (!json.Valid(body) && !json.Valid(body[3:])) {
			t.Fatalf("an envelope in a body that is not JSON: %q", body)
		}
		if o.Flag == FlagTrue && o.Body != BodyEnvelope {
			t.Fatalf("a flag without an envelope: %+v", o)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	body := []byte(`{"status":true,"error_code":0,"data":{"results":[` + strings.Repeat(`{"patent_id":"US1","title":"solar cell"},`, 100) + `{}]}}`)
	h := http.Header{"X-Correlation-Id": {"c0ffee"}}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	p := patsnap(b)
	for b.Loop() {
		read(p, 200, h, body, false)
	}
}
