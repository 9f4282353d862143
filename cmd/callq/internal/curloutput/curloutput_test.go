package curloutput

import (
	"net/http"
	"reflect"
	"strings"
	"testing"
)

func TestTheLastAnswerThatCurlPrintedIsRead(t *testing.T) {
	want := Answer{Status: 429, Header: http.Header{"Retry-After": {"60"}, "X-Id": {"a", "b"}}, Body: []byte("{\"a\":\r\n1}\n")}
	const last = "\r\nretry-after: 60\r\nX-Id: a\r\nx-id:b\r\n\r\n{\"a\":\r\n1}\n"
	for name, text := range map[string]string{
		"HTTP/1.1":           "HTTP/1.1 429 Too Many Requests" + last,
		"HTTP/2":             "HTTP/2 429 " + last,
		"HTTP/3, no space":   "HTTP/3 429" + last,
		"UTF-8 with a mark":  "\xef\xbb\xbfHTTP/2 429" + last,
		"an interim answer":  "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 429 No" + last,
		"a proxy":            "HTTP/1.0 200 Connection established\r\n\r\nHTTP/1.1 429 No" + last,
		"followed redirects": "HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 3\r\n\r\nHTTP/1.1 429 No" + last,
		"a digest":           "HTTP/1.1 401 No\r\nWWW-Authenticate: Digest\r\n\r\nHTTP/1.1 429 No" + last,
	} {
		got, err := Parse([]byte(text))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", name, got, err, want)
		}
	}
}

func TestLinesMayEndInLFAloneAndTheBodyMayBeMissing(t *testing.T) {
	for text, want := range map[string]Answer{
		"HTTP/2 204\nA: b: c\n":              {Status: 204, Header: http.Header{"A": {"b: c"}}, Body: []byte{}},
		"HTTP/2 503":                         {Status: 503, Header: http.Header{}, Body: []byte{}},
		"HTTP/2 200\nA: b\n\n\nx\n":          {Status: 200, Header: http.Header{"A": {"b"}}, Body: []byte("\nx\n")},
		"HTTP/1.1 200 OK\nA: b\n  c\nD:\n\n": {Status: 200, Header: http.Header{"A": {"b c"}, "D": {""}}, Body: []byte{}},
	} {
		got, err := Parse([]byte(text))
		if err != nil || got.Status != want.Status || !reflect.DeepEqual(got.Header, want.Header) || string(got.Body) != string(want.Body) {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", text, got, err, want)
		}
	}
}

func TestTheErrorNamesTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                        "line 1: there is nothing",
		"{\"error\": 1}":                          `line 1: got "{\"error\": 1}", want a status line`,
		"\nHTTP/2 200\n":                          `line 1: got "", want a status line`,
		"* Trying 1.2.3.4":                        "line 1: this is what curl -v prints",
		"HTTP/2 700\n\n":                          "line 1: 700 is not a status",
		"HTTP/2 200\nA: b\n{\"a\": 1}\n":          `line 3: got "{\"a\": 1}", want a header`,
		"HTTP/2 100\n\nHTTP/2 200\nnothing":       "line 4: got \"nothing\", want a header",
		"HTTP/2 103\nLink: x\n\n":                 "line 3: the text ends after the interim answer 103",
		"HTTP/2 200\n\n\x1f\x8b\x08":              "line 3: the body is compressed",
		"\xff\xfeH\x00":                           "the text is in UTF-16",
		"HTTP/2 200\n" + strings.Repeat("x", 100): `line 2: got "` + strings.Repeat("x", 60) + `…"`,
	} {
		if got, err := Parse([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n got %+v, %v\nwant %s", text, got, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/2 429\nA: b\n\n{}"))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, err := Parse(text)
		if err == nil && (a.Status < 200 || a.Status > 599 || a.Header == nil || !strings.HasSuffix(string(text), string(a.Body))) {
			t.Errorf("%q: got %+v", text, a)
		}
	})
}
