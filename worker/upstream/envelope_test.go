package upstream

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy"
)

func TestEveryFormOfAnEnvelopeIsRead(t *testing.T) {
	const T, F, A = policy.FlagTrue, policy.FlagFalse, policy.FlagAbsent
	tests := []struct {
		body    string
		kind    policy.Body
		flag    policy.Flag
		code    string
		message string
	}{
		{`{"status":true,"error_code":0,"data":{}}`, policy.BodyEnvelope, T, "0", ""},
		{`{"status":true}`, policy.BodyEnvelope, T, "", ""},
		{`{"status":"true","error_code":null}`, policy.BodyEnvelope, T, "", ""},
		{`{"status":"False","error_code":""}`, policy.BodyEnvelope, F, "", ""},
		{`{"status":false,"error_code":67200001,"error_msg":"m"}`, policy.BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":67200001.0,"error_message":"m"}`, policy.BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":6.7200001e7,"msg":"m"}`, policy.BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":672000010E-1,"message":"m"}`, policy.BodyEnvelope, F, "67200001", "m"},
		{`{"status":false,"error_code":"67200001"}`, policy.BodyEnvelope, F, "67200001", ""},
		{`{"status":false,"error_code":" 067200001.00 "}`, policy.BodyEnvelope, F, "67200001", ""},
		{`{"status":false,"error_code":9007199254740993}`, policy.BodyEnvelope, F, "9007199254740993", ""},
		{`{"status":false,"error_code":123456789012345678901234567890}`, policy.BodyEnvelope, F, "123456789012345678901234567890", ""},
		{`{"status":false,"error_code":-1}`, policy.BodyEnvelope, F, "-1", ""},
		{`{"status":false,"error_code":1.50}`, policy.BodyEnvelope, F, "1.5", ""},
		{`{"status":true,"error_code":"0.0"}`, policy.BodyEnvelope, T, "0", ""},
		{`{"status":true,"error_code":-0e9}`, policy.BodyEnvelope, T, "0", ""},
		{`{"status":true,"error_code":68300008}`, policy.BodyEnvelope, T, "68300008", ""},
		{`{"stat\u0075s":true}`, policy.BodyEnvelope, T, "", ""},
		{"\ufeff \n{\"status\":true}\n", policy.BodyEnvelope, T, "", ""},
		// The first field with a text, independent of the order in the body.
		{`{"status":false,"message":"d","msg":"c","error_message":"b","error_msg":"a"}`, policy.BodyEnvelope, F, "", "a"},
		{`{"status":false,"error_msg":"","message":"d"}`, policy.BodyEnvelope, F, "", "d"},
		{`{"status":false,"error_msg":{"x":1},"msg":5,"message":"d"}`, policy.BodyEnvelope, F, "", "d"},
		{`{"status":false,"error_msg":" a\r\n\u0000b "}`, policy.BodyEnvelope, F, "", "a   b"},
		{`{"status":false,"error_msg":"\ud800x"}`, policy.BodyEnvelope, F, "", "\ufffdx"},
		// If a field occurs twice, the last one counts.
		{`{"status":true,"status":false,"error_code":1,"error_code":2}`, policy.BodyEnvelope, F, "2", ""},
		// A code that is not a number means a failure, too.
		{`{"status":true,"error_code":"E_LIMIT","msg":"m"}`, policy.BodyEnvelope, F, "", "E_LIMIT: m"},
		{`{"status":true,"error_code":1e999999999}`, policy.BodyEnvelope, F, "", "1e999999999"},
		{`{"status":true,"error_code":true}`, policy.BodyEnvelope, F, "", "true"},
		{`{"status":true,"error_code":{"a":1}}`, policy.BodyEnvelope, F, "", `{"a":1}`},
		{`{"status":true,"error_code":[]}`, policy.BodyEnvelope, T, "", ""},
		{`{"status":true,"error_code":false}`, policy.BodyEnvelope, T, "", ""},
		// Not envelopes.
		{`{"error_code":67200001,"error_msg":"m"}`, policy.BodyMalformed, A, "67200001", "m"},
		{`{"data":{"status":true}}`, policy.BodyMalformed, A, "", ""},
		{`{"status":null}`, policy.BodyMalformed, A, "", ""},
		{`{"status":"approved"}`, policy.BodyMalformed, A, "", ""},
		{`{"status":1}`, policy.BodyMalformed, A, "", ""},
		{`{"Status":true}`, policy.BodyMalformed, A, "", ""},
		{`[{"status":true}]`, policy.BodyMalformed, A, "", ""},
		{`{"status":true`, policy.BodyMalformed, A, "", ""},
		{`{"status":true}}`, policy.BodyMalformed, A, "", ""},
		{`{"status":tru}`, policy.BodyMalformed, A, "", ""},
		{`true`, policy.BodyMalformed, A, "", ""},
		{"\xff\xfe", policy.BodyMalformed, A, "", ""},
		{`<?xml version="1.0"?><a/>`, policy.BodyMalformed, A, "", ""},
		{"", policy.BodyEmpty, A, "", ""},
		{" \r\n", policy.BodyEmpty, A, "", ""},
		{"<!DOCTYPE html><title>x</title>", policy.BodyHTML, A, "", ""},
		{"  <HTML>", policy.BodyHTML, A, "", ""},
	}
	for _, tt := range tests {
		o := Read(200, http.Header{}, []byte(tt.body), false)
		if o.Body != tt.kind || o.Flag != tt.flag || o.Code != tt.code || o.Message != tt.message {
			t.Errorf("%s:\n got %s %s %q %q\nwant %s %s %q %q", tt.body, o.Body, o.Flag, o.Code, o.Message, tt.kind, tt.flag, tt.code, tt.message)
		}
	}
}

func TestACutBodyIsNotParsed(t *testing.T) {
	o := Read(200, http.Header{}, []byte(`{"status":true}`), true)
	if o.Body != policy.BodyCut || o.Flag != policy.FlagAbsent {
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
		o := Read(404, h, []byte(body), false)
		if o.Message != want || o.Body != policy.BodyMalformed || o.Flag != policy.FlagAbsent || o.Code != "" {
			t.Errorf("%s: %+v", body, o)
		}
	}
	if o := Read(200, http.Header{}, []byte(`{"status":true,"title":"a book"}`), false); o.Message != "" {
		t.Errorf("got the message %q from the title of a success, want none", o.Message)
	}
}

func TestTheCorrelationIDComesFromTheBestHeader(t *testing.T) {
	h := http.Header{}
	for _, step := range []struct{ name, value, want string }{
		{"Request-Id", "c", "c"}, {"X-Request-Id", "b", "b"}, {"X-Correlation-Id", "a\xff", "a\ufffd"},
	} {
		h.Set(step.name, step.value)
		if got := Read(200, h, nil, false).CorrelationID; got != step.want {
			t.Errorf("with %s: %q, want %q", step.name, got, step.want)
		}
	}
	h.Set("X-Correlation-Id", strings.Repeat("\u00e9", 1000))
	if got := Read(200, h, nil, false).CorrelationID; len(got) > maxID || !utf8.ValidString(got) {
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
		o := Read(200, http.Header{}, []byte(body), false)
		if len(o.Message) > maxMessage || len(o.Code) > 2*64+3 {
			t.Errorf("%s: kept %d bytes of message, %d of code", name, len(o.Message), len(o.Code))
		}
	}
	nested := `{"status":true,"data":` + strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1) + `}`
	if o := Read(200, http.Header{}, []byte(nested), false); o.Flag != policy.FlagTrue {
		t.Errorf("nesting of %d: %+v", maxDepth, o)
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
		o := Read(status, h, body, cut)
		for _, s := range []string{o.Message, o.CorrelationID, o.Code} {
			if !utf8.ValidString(s) || len(s) > maxMessage || !httpsyntax.IsPrintable(s, false) {
				t.Fatalf("kept %q", s)
			}
		}
		if o.Code != "" && !json.Valid([]byte(o.Code)) {
			t.Fatalf("code %q is not a number", o.Code)
		}
		if (o.Body == policy.BodyEnvelope) && (!json.Valid(body) && !json.Valid(body[3:])) {
			t.Fatalf("an envelope in a body that is not JSON: %q", body)
		}
		if o.Flag == policy.FlagTrue && o.Body != policy.BodyEnvelope {
			t.Fatalf("a flag without an envelope: %+v", o)
		}
	})
}

func BenchmarkRead(b *testing.B) {
	body := []byte(`{"status":true,"error_code":0,"data":{"results":[` + strings.Repeat(`{"patent_id":"US1","title":"solar cell"},`, 100) + `{}]}}`)
	h := http.Header{"X-Correlation-Id": {"c0ffee"}}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		Read(200, h, body, false)
	}
}
