package policy

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

func TestTheMessageOfAFailureIsFoundInEveryFormat(t *testing.T) {
	const jsonType, textType, htmlType, xmlType = "application/json", "text/plain", "text/html", "application/xml"
	tests := []struct{ contentType, body, want string }{
		{jsonType, `{"error":{"message":"context too long","code":"context_length_exceeded"}}`, "context too long"},
		{jsonType, `{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT","details":[{"reason":"x"}]}}`, "Bad"},
		{jsonType, `{"type":"error","error":{"type":"invalid_request_error","message":"max_tokens: required"}}`, "max_tokens: required"},
		{jsonType, `{"error":"not found"}`, "not found"},
		{jsonType, `{"error":"invalid_grant","error_description":"The code is used up."}`, "invalid_grant: The code is used up."},
		{jsonType, `{"error":"Not Found","message":"No handler for /x"}`, "No handler for /x"},
		{jsonType, `[{"message":"bad id","errorCode":"MALFORMED_ID"}]`, "bad id"},
		{jsonType, `[{"message":"a"},{"message":"b"},{"message":"c"},{"message":"d"}]`, "a; b; c"},
		{jsonType, `{"errors":[{"message":"email invalid"}]}`, "email invalid"},
		{jsonType, `{"errors":[{"title":"Invalid","detail":"too short"}]}`, "Invalid: too short"},
		{jsonType, `{"errors":["first","second"]}`, "first; second"},
		{jsonType, `{"errors":{"email":["is invalid","is taken"],"name":"is blank"}}`, "email: is invalid; is taken; name: is blank"},
		{jsonType, `{"errors":{"base":"no"}}`, "base: no"},
		{jsonType, `{"error":{"errors":[{"reason":"quotaExceeded","message":"The quota is used up."}]}}`, "The quota is used up."},
		{jsonType, `{"error":{"root_cause":[{"type":"x"}],"type":"parsing_exception","reason":"unknown query"}}`, "unknown query"},
		{jsonType, `{"detail":"Not authenticated"}`, "Not authenticated"},
		{jsonType, `{"detail":[{"loc":["query","n"],"msg":"field required","type":"value_error"}]}`, "field required"},
		{jsonType, `{"title":"Out of credit","detail":"Your balance is 30.","status":403}`, "Out of credit: Your balance is 30."},
		{jsonType, `{"title":"Out of credit"}`, "Out of credit"},
		{jsonType, `{"fault":{"faultstring":"Invalid ApiKey","detail":{"errorcode":"oauth.v2.InvalidApiKey"}}}`, "Invalid ApiKey"},
		{jsonType, `{"Message":"User is not authorized"}`, "User is not authorized"},
		{jsonType, `{"__type":"ThrottlingException","Message":"Rate exceeded"}`, "Rate exceeded"},
		{jsonType, `{"errorMessages":["Issue does not exist"],"errors":{}}`, "Issue does not exist"},
		{jsonType, `{"errorMessages":[],"errors":{"summary":"is required"}}`, "summary: is required"},
		{jsonType, `{"errorSummary":"Api validation failed"}`, "Api validation failed"},
		{jsonType, `{"data":null,"errors":[{"message":"Field 'x' does not exist"}]}`, "Field 'x' does not exist"},
		{jsonType, `{"response":{"error":{"message":"deep"}}}`, "deep"},
		{jsonType, `{"ok":false,"error":"channel_not_found"}`, "channel_not_found"},
		{jsonType, `"just a text"`, "just a text"},
		{jsonType, `{"error":true}`, ""},
		{jsonType, `{"error":{"code":5}}`, ""},
		{jsonType, `{"data":{"name":"x"}}`, ""},
		{jsonType, `{}`, ""},
		{jsonType, `[]`, ""},
		{jsonType, `{"error":{"mess`, ""},
		{jsonType, `Bad Request`, "Bad Request"},
		{xmlType, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code><Message>The key does not exist.</Message></Error>`, "NoSuchKey: The key does not exist."},
		{xmlType, `<ErrorResponse><Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>`, "Throttling: Rate exceeded"},
		{"text/xml", `<soap:Envelope><soap:Body><soap:Fault><faultcode>soap:Client</faultcode><faultstring>No such &lt;user&gt;</faultstring></soap:Fault></soap:Body></soap:Envelope>`, "No such <user>"},
		{xmlType, `<env:Envelope><env:Body><env:Fault><env:Reason><env:Text xml:lang="en">Processing error</env:Text></env:Reason></env:Fault></env:Body></env:Envelope>`, "Processing error"},
		{xmlType, `<fault><code>404</code><message>not found</message></fault>`, "404: not found"},
		{xmlType, `<error>gone</error>`, "gone"},
		{xmlType, `<Error><Message>caf` + "\xe9" + `</Message></Error>`, "caf\ufffd"},
		{xmlType, `<Error><Message>never closed`, ""},
		{xmlType, `<a/>`, ""},
		{textType, "Rate limit reached\nsee the documents\n", "Rate limit reached"},
		{"", "upstream connect error", "upstream connect error"},
		{htmlType, "<!DOCTYPE html><html><head><title>502 Bad\n Gateway</title></head><body><h1>x</h1></body></html>", "502 Bad Gateway"},
		{htmlType, `<html><body><h1 class="a">Access <b>denied</b> &amp; logged</h1></body></html>`, "Access denied & logged"},
		{htmlType, "<html><body></body></html>", ""},
		{htmlType, "sorry", "sorry"},
		{"application/octet-stream", "\x00\xff\x01", ""},
	}
	for _, tt := range tests {
		o := read(nil, 422, http.Header{"Content-Type": {tt.contentType}}, []byte(tt.body), false)
		if o.Message != tt.want {
			t.Errorf("%s:\n got %q\nwant %q", tt.body, o.Message, tt.want)
		}
		// The same body in a success has no message.
		if ok := read(nil, 200, http.Header{"Content-Type": {tt.contentType}}, []byte(tt.body), false); ok.Message != "" {
			t.Errorf("%s: a success has the message %q", tt.body, ok.Message)
		}
	}
}

func TestAFailedEnvelopeHasAMessage(t *testing.T) {
	for body, want := range map[string]string{
		`{"status":false,"error_code":67200001,"error_msg":"m","error":{"message":"other"}}`: "m",
		`{"status":false,"error_code":67200001,"error":{"message":"other"}}`:                 "other",
		`{"status":true,"error":{"message":"other"}}`:                                        "",
	} {
		if o := read(patsnap(t), 200, http.Header{}, []byte(body), false); o.Message != want {
			t.Errorf("%s: %q, want %q", body, o.Message, want)
		}
	}
}

func TestAHostileErrorBodyIsSearchedWithinLimits(t *testing.T) {
	const n = 2 << 20
	for name, body := range map[string]string{
		"deep":          strings.Repeat(`{"error":`, 200) + `"x"` + strings.Repeat(`}`, 200),
		"wide":          `{"errors":[` + strings.Repeat(`{"message":""},`, n/15) + `{}]}`,
		"many members":  `{` + strings.Repeat(`"a":"b",`, n/8) + `"message":"x"}`,
		"a long text":   `{"error":{"message":"` + strings.Repeat("x", n) + `"}}`,
		"nested arrays": `{"errors":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`,
		"open tags":     strings.Repeat("<a>", n/3),
		"one open tag":  "<" + strings.Repeat("a", n),
		"a long line":   strings.Repeat("x", n),
		"titles":        "<html>" + strings.Repeat("<title>", n/7),
	} {
		if o := read(nil, 500, http.Header{}, []byte(body), false); len(o.Message) > maxMessage || !utf8.ValidString(o.Message) {
			t.Errorf("%s: kept %d bytes", name, len(o.Message))
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{
		`{"error":{"message":"m"}}`, `[{"errors":{"a":["b"]}}]`, `<Error><Code>a</Code><Message>b</Message></Error>`,
		"<html><title>t</title>", "plain\ntext", `"text"`, `<h1>x`, "<title>\u0130</title>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		o := read(nil, 500, http.Header{}, body, false)
		if !utf8.ValidString(o.Message) || len(o.Message) > maxMessage || !httpsyntax.IsPrintable(o.Message, false) {
			t.Fatalf("kept %q", o.Message)
		}
		if o.Body == BodyEmpty && o.Message != "" {
			t.Fatalf("%q in nothing", o.Message)
		}
	})
}
