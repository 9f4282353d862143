package redact_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/worker/redact"
)

// with returns a Redactor with the values.
func with(values ...string) *redact.Redactor {
	r := &redact.Redactor{}
	for _, v := range values {
		r.Add(v)
	}
	return r
}

func ExampleRedactor() {
	var r redact.Redactor
	r.Add("sk-live-9f8e7d6c5b4a", "Bearer")
	r.Add("solar", "apikey")
	fmt.Println(r.Text("key sk-live-9f8e7d6c5b4a refused"))
	fmt.Println(r.Text("GET /panels?apikey=solar: no solar panels"))
	// Output:
	// key [redacted] refused
	// GET /panels?apikey=[redacted]: no solar panels
}

const key = "sk-live-9f8e7d6c5b4a3f2e1d"

func TestThePartsOfAValueAreRemoved(t *testing.T) {
	basic := base64.StdEncoding.EncodeToString([]byte("alice:pass-word-1"))
	for _, tc := range []struct{ value, input, want string }{
		{key, "key " + key + ".", "key [redacted]."},
		{key + " ", "key " + key + ".", "key [redacted]."},
		{"\t" + key + "\r\n", "key " + key + ".", "key [redacted]."},
		{"\ufeff" + key + "\n", "key " + key + ".", "key [redacted]."},
		{"Bearer " + key, "key " + key + ".", "key [redacted]."},
		{"Bearer  " + key, "key " + key + ".", "key [redacted]."},
		{"bearer\t" + key + " ", "key " + key + ".", "key [redacted]."},
		{"Bearer Bearer " + key, "key " + key + ".", "key [redacted]."},
		{"DeepL-Auth-Key " + key, "DeepL-Auth-Key is missing; got " + key, "DeepL-Auth-Key is missing; got [redacted]"},
		{"SSWS " + key, "SSWS " + key, "[redacted]"},
		{"Custom " + key, "Custom fields: " + key, "Custom fields: [redacted]"},
		{`Token token="` + key + `", email="a@b.example"`, "a@b.example has " + key, "a@b.example has [redacted]"},
		{"GoogleLogin auth=" + key, "auth " + key, "auth [redacted]"},
		{"Basic " + basic, "got " + basic, "got [redacted]"},
		{"Basic " + basic, "alice may not enter with pass-word-1", "alice may not enter with [redacted]"},
		{"clé-secrète-1", "got clÃ©-secrÃ¨te-1", "got [redacted]"},
		{"correct horse battery", "q=correct+horse+battery&r=1", "q=[redacted]&r=1"},
	} {
		if got := with(tc.value).Text(tc.input); got != tc.want {
			t.Errorf("secret %q: Text(%q) = %q, want %q", tc.value, tc.input, got, tc.want)
		}
	}
}

func TestTheNameOfASchemeIsNotRemoved(t *testing.T) {
	const input = "Bearer, Token, Basic and ApiKey-v1 authorization of service-account-1"
	r := &redact.Redactor{}
	for _, scheme := range []string{"Bearer", "Token", "Basic", "ApiKey-v1"} {
		r.Add(scheme+" "+key, "Authorization", "service-account-1")
	}
	if got := r.Text(input); got != input {
		t.Errorf("got %q, want it unchanged", got)
	}
}

// encodingsOf returns the forms in which an API may echo a value, by their names.
func encodingsOf(t *testing.T, value string) map[string]string {
	t.Helper()
	quoted := func(html bool, v string) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		return strings.TrimSuffix(b.String(), "\n")
	}
	inner := func(s string) string { return s[1 : len(s)-1] }
	each := func(format string) string {
		var b strings.Builder
		for i := range len(value) {
			fmt.Fprintf(&b, format, value[i])
		}
		return b.String()
	}
	ascii := strings.Trim(fmt.Sprintf("%+q", value), `"`)
	all := map[string]string{
		"not encoded":           value,
		"JSON":                  inner(quoted(false, value)),
		"JSON, HTML escaped":    inner(quoted(true, value)),
		"JSON within JSON":      inner(quoted(true, inner(quoted(true, value)))),
		"JSON, slashes escaped": strings.ReplaceAll(inner(quoted(false, value)), "/", `\/`),
		"JSON, ASCII only":      ascii,
		"query":                 url.QueryEscape(value),
		"path":                  url.PathEscape(value),
		"query, lower case":     lowerHex(url.QueryEscape(value)),
		"query, encoded twice":  url.QueryEscape(url.QueryEscape(value)),
		"query, each byte":      each("%%%02X"),
		"HTML":                  html.EscapeString(value),
		"Go":                    strings.Trim(fmt.Sprintf("%q", value), `"`),
		"after a backslash":     `\` + value,
		"query within JSON":     inner(quoted(true, url.QueryEscape(value))),
		"query, last byte only": value[:len(value)-1] + fmt.Sprintf("%%%02x", value[len(value)-1]),
	}
	if strings.IndexFunc(value, func(r rune) bool { return r > 0x7e }) < 0 {
		all["JSON, each character"] = each(`\u%04x`)
		all["JSON, first character only"] = fmt.Sprintf(`\u%04x`, value[0]) + inner(quoted(false, value[1:]))
		all["HTML entity in the middle"] = value[:4] + fmt.Sprintf("&#%d;", value[4]) + value[5:]
		all["hexadecimal HTML entity in the middle"] = value[:4] + fmt.Sprintf("&#x%x;", value[4]) + value[5:]
	}
	return all
}

func lowerHex(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '%' && i+2 < len(b) {
			copy(b[i:], bytes.ToLower(b[i:i+3]))
		}
	}
	return string(b)
}

func TestASecretIsFoundInEveryEncoding(t *testing.T) {
	for _, value := range []string{
		key, "abc/def+ghi==", `sk-"quoted"/&-<0123456789>`, "pa ss wo rd 12", "clé-secrète-1", "päss/wörd&1", "12345678901", "////////////",
		`back\slash\1`, `tail-slash-1\`, "per%cent%41x", "a%2Fb%2fc-1", "'single'-'q'", "sign~.!*()-_1", "日本語の鍵です-1", "emoji-😀-token", "uuuu0041\\u0041",
	} {
		r := with(value)
		for name, input := range encodingsOf(t, value) {
			for _, around := range []string{"%s", "{\"a\":\"%s\"}", "x%sy", " %s ", "k=%s&x=1", "\\\"%s\\\""} {
				text := fmt.Sprintf(around, input)
				got := string(r.Bytes([]byte(text)))
				if !strings.Contains(got, redact.Mark) || strings.Contains(got, value[2:7]) {
					t.Errorf("%s encoded as %s: got %s from %s, want no secret and a mark", value, name, got, text)
				}
				if json.Valid([]byte(text)) && !json.Valid([]byte(got)) {
					t.Errorf("%s encoded as %s: got %s from %s, want valid JSON", value, name, got, text)
				}
			}
		}
	}
}

// The credentials of this test are ordinary words. They are removed only in the position
// of a credential.
func TestAShortSecretIsRemovedOnlyWhereACredentialIsExpected(t *testing.T) {
	r := &redact.Redactor{}
	r.Add("efficiency", "alice")         // a password of alice
	r.Add("solar", "apikey")             // a query parameter
	r.Add("panels", "Bearer")            // a bearer token
	r.Add("s3cr3t", "X-Api-Key")         // a header
	r.Add("wind&1", "apikey")            // contains a sign
	r.Add("YTpi", "Basic")               // a:b
	r.Add("Token grid", "Authorization") // with a scheme
	for _, input := range []string{
		"solar panels with high efficiency", `{"q":"solar","title":"panels"}`, "solar: 12 panels", "efficiency=0.9", "the bearer of panels", "apikey is missing; solar",
		"panels s3cr3t wind&1 YTpi", "apikey=solaris", "Bearer panelsx", "my-apikey2=solar", "alice, efficiency", "key=solar", "grid token", "tokens: grid",
	} {
		if got := r.Text(input); got != input {
			t.Errorf("Text(%q) = %q, want it unchanged", input, got)
		}
	}
	for input, want := range map[string]string{
		"GET /a?apikey=solar":               "GET /a?apikey=[redacted]",
		"GET /a?apikey=solar&x=solar":       "GET /a?apikey=[redacted]&x=solar",
		"/a%3Fapikey%3Dsolar%26x":           "/a%3Fapikey%3D[redacted]%26x",
		`{"apikey":"solar"}`:                `{"apikey":"[redacted]"}`,
		`{"apikey": "solar"}`:               `{"apikey": "[redacted]"}`,
		`{\"apikey\": \"solar\"}`:           `{\"apikey\": \"[redacted]\"}`,
		"APIKEY=solar":                      "APIKEY=[redacted]",
		"apikey=wind%261":                   "apikey=[redacted]",
		"<apikey>solar</apikey>":            "<apikey>[redacted]</apikey>",
		"Bearer panels":                     "Bearer [redacted]",
		"authorization: bearer panels":      "authorization: bearer [redacted]",
		"Authorization: panels":             "Authorization: [redacted]",
		"map[Authorization:[Bearer panels]": "map[Authorization:[Bearer [redacted]]",
		`"Bearer panels"`:                   `"Bearer [redacted]"`,
		"X-Api-Key: s3cr3t":                 "X-Api-Key: [redacted]",
		`"x-api-key":["s3cr3t"]`:            `"x-api-key":["[redacted]"]`,
		"Proxy-Authorization: Basic YTpi":   "Proxy-Authorization: Basic [redacted]",
		"alice:efficiency":                  "alice:[redacted]",
		"Authorization: Token grid":         "Authorization: [redacted]",
		"Token grid":                        "Token [redacted]",
	} {
		if got := r.Text(input); got != want {
			t.Errorf("Text(%q) = %q, want %q", input, got, want)
		}
	}
}

func TestAValueIsRemovedEverywhereIfItIsLongEnough(t *testing.T) {
	for value, everywhere := range map[string]bool{
		"abcdefgh": false, "abcdefg1": true, "abcdefg-": true, "abcde-1": false, "abcdefghijk": false, "abcdefghijkl": true,
		"äöüäöüäö": false, "äöüäöü-1": true, "solar cell": false, "12345678": true, "1234567": false, " abcdef1 ": false,
	} {
		if redact.Short(value) == everywhere {
			t.Errorf("Short(%q) = %t, want %t", value, everywhere, !everywhere)
		}
		got := with(value).Text("say " + value + ".")
		if removed := strings.Contains(got, redact.Mark); removed != everywhere {
			t.Errorf("secret %q: got %q, want it removed: %t", value, got, everywhere)
		}
	}
}

func TestOverlappingSecretsAreRemovedCompletely(t *testing.T) {
	for _, tc := range []struct {
		values      []string
		input, want string
	}{
		{[]string{"secret-part", "secret-part-and-more"}, "x secret-part-and-more y", "x [redacted] y"},
		{[]string{"secret-part-and-more", "secret-part"}, "x secret-part-and-more y", "x [redacted] y"},
		{[]string{"and-more-1", "secret-and-more-1-end"}, "x secret-and-more-1-end y", "x [redacted] y"},
		{[]string{"abcdef-12345", "12345-ghijkl"}, "x abcdef-12345-ghijkl y", "x [redacted] y"},
		{[]string{"12345-ghijkl", "abcdef-12345"}, "x abcdef-12345-ghijkl y", "x [redacted] y"},
		{[]string{"abab12ab"}, "x abab12abab12ab y", "x [redacted] y"},
		{[]string{"abcdef-12345", "12345/ghijkl"}, `x abcdef-12345\/ghijkl y`, "x [redacted] y"},
		{[]string{"secret-1/more", "secret-1"}, `x secret-1\/more y`, "x [redacted] y"},
	} {
		if got := with(tc.values...).Text(tc.input); got != tc.want {
			t.Errorf("secrets %q: Text(%q) = %q, want %q", tc.values, tc.input, got, tc.want)
		}
	}
}

func TestJSONStaysValidWhenANumberIsRemoved(t *testing.T) {
	r := with("1234567890")
	for input, want := range map[string]string{
		`{"id":1234567890}`:                  `{"id":"[redacted]"}`,
		`[1, 1234567890 ,2]`:                 `[1, "[redacted]" ,2]`,
		`{"id":"1234567890","n":1234567890}`: `{"id":"[redacted]","n":"[redacted]"}`,
		`{"a":"say \"1234567890\" now"}`:     `{"a":"say \"[redacted]\" now"}`,
		`{"id":12345678901}`:                 `{"id":12345678901}`,
		`{"id":91234567890}`:                 `{"id":91234567890}`,
		`id 1234567890`:                      `id [redacted]`,
	} {
		if got := string(r.Bytes([]byte(input))); got != want {
			t.Errorf("Bytes(%s) = %s, want %s", input, got, want)
		}
	}
}

func TestABodyWithoutSecretsIsNotCopied(t *testing.T) {
	r := with(key, "short")
	body := []byte(`{"data":"short and harmless, 100%25 \"so\""}`)
	if got := r.Bytes(body); &got[0] != &body[0] || len(got) != len(body) {
		t.Errorf("got %s, want the same slice", got)
	}
	if n := testing.AllocsPerRun(10, func() { r.Bytes(body) }); n > 0 {
		t.Errorf("%v allocations for a body without secrets", n)
	}
	if n := testing.AllocsPerRun(10, func() { r.Add(key) }); n > 0 {
		t.Errorf("%v allocations to add a value again", n)
	}
}

func TestTheOldestValuesAreForgottenFirst(t *testing.T) {
	parent := redact.New(0, nil)
	r := redact.New(4, parent)
	for i := range 20 {
		r.Add(fmt.Sprintf("token-%06d", i))
	}
	if got := r.Text("token-000016 token-000019"); got != "[redacted] [redacted]" {
		t.Errorf("got %q, want the latest 4 values removed", got)
	}
	if got := r.Text("token-000015"); got != "token-000015" {
		t.Errorf("got %q, want the older value forgotten", got)
	}
	if got := parent.Text("token-000000"); got != redact.Mark {
		t.Errorf("got %q, want the value removed by the parent", got)
	}
	r.Add("token-000000")
	if got := r.Text("token-000000"); got != redact.Mark {
		t.Errorf("got %q, want a value removed that was added again", got)
	}
}

func TestAPermanentValueIsNeverForgotten(t *testing.T) {
	parent := redact.New(2, nil)
	r := redact.New(2, parent)
	r.Add("token-from-before")
	r.AddPermanent("proxy-password-1", "proxy")
	r.AddPermanent("token-from-before")
	for i := range 20 {
		r.Add(fmt.Sprintf("token-%06d", i))
	}
	for _, one := range []*redact.Redactor{r, parent} {
		if got := one.Text("proxy-password-1 token-from-before token-000019"); got != "[redacted] [redacted] [redacted]" {
			t.Errorf("got %q, want the permanent values and the latest one removed", got)
		}
		if got := one.Text("token-000018"); got != "token-000018" {
			t.Errorf("got %q, want the older value forgotten: the limit does not count permanent values", got)
		}
	}
}

func TestHeaderRemovesCredentialsAndCookies(t *testing.T) {
	r := with(key)
	r.Add("solar", "X-Key")
	h := http.Header{"X-Request-Id": {"id " + key}, "Set-Cookie": {"a=b"}, "X-Key": {"solar", "wind"}, "Via": {"solar"}, "Authorization": {"solar"}}
	got := fmt.Sprint(r.Header(h))
	want := fmt.Sprint(http.Header{"X-Request-Id": {"id [redacted]"}, "X-Key": {"[redacted]", "wind"}, "Via": {"solar"}, "Authorization": {"[redacted]"}})
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if h.Get("X-Request-Id") != "id "+key {
		t.Error("Header has changed its argument")
	}
}

type stringer struct{ s string }

func (s stringer) String() string { return s.s }

func TestALogContainsNoCredential(t *testing.T) {
	r := with(key, `quo"ted/1`)
	r.Add("solar", "apikey")
	for name, handler := range map[string]func(io.Writer) slog.Handler{
		"text":           func(w io.Writer) slog.Handler { return r.Handler(slog.NewTextHandler(w, nil)) },
		"JSON":           func(w io.Writer) slog.Handler { return r.Handler(slog.NewJSONHandler(w, nil)) },
		"writer of text": func(w io.Writer) slog.Handler { return slog.NewTextHandler(r.Writer(w), nil) },
		"writer of JSON": func(w io.Writer) slog.Handler { return slog.NewJSONHandler(r.Writer(w), nil) },
	} {
		var b bytes.Buffer
		log := slog.New(handler(&b)).With("of", key).WithGroup("g")
		log.Info("says "+key, "a", key, "b", errors.New("no "+key), "c", stringer{key}, "d", []string{"x", key}, "e", []byte(key), "f", map[string]any{"k": key},
			slog.Group("inner", "x", key, "y", 1), "apikey", "solar", "g", `quo"ted/1`, "h", struct{ A string }{key})
		log.Debug("never " + key)
		if strings.Contains(b.String(), key) || strings.Contains(b.String(), "solar") || strings.Contains(b.String(), "ted/1") {
			t.Errorf("%s: the log contains a credential: %s", name, &b)
		}
		if n := strings.Count(b.String(), redact.Mark); n < 9 {
			t.Errorf("%s: got %d marks, want at least 9, in %s", name, n, &b)
		}
	}
}

func TestAWriterReturnsTheLengthOfItsInput(t *testing.T) {
	var b bytes.Buffer
	if n, err := fmt.Fprintf(with(key).Writer(&b), "a %s b", key); n != len(key)+4 || err != nil || b.String() != "a [redacted] b" {
		t.Errorf("got %d, %v and %q written", n, err, &b)
	}
}

func FuzzText(f *testing.F) {
	f.Add("a\\u0073k", "sk-very-1", "%2F")
	f.Add(`\\\"`, `a\"b\c-12`, `\\`)
	f.Fuzz(func(t *testing.T, before, value, after string) {
		r := with(value)
		text := before + value + after
		got := r.Text(text)
		trimmed := strings.TrimSpace(value)
		if !redact.Short(value) && strings.Trim(trimmed, "0123456789") != "" && strings.Contains(got, trimmed) && !strings.Contains(redact.Mark, trimmed) &&
			!strings.Contains(before+redact.Mark+after, trimmed) {
			t.Errorf("Text(%q) = %q, want the secret removed", text, got)
		}
	})
}

// bodies returns bodies of about size bytes.
func bodies(size int) map[string][]byte {
	plain := bytes.Repeat([]byte(`{"id":"row 1","title":"solar cell with a better yield","n":12.5},`), size/64)
	escaped := bytes.Repeat([]byte(`{"u":"https:\/\/a.example\/p?q=1%2F2&amp;x","t":"a \"b\" \u00e9"},`), size/64)
	return map[string][]byte{"plain": plain, "escaped": escaped}
}

func BenchmarkBytes(b *testing.B) {
	jwt := "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9." + strings.Repeat("eyJzdWIiOiIxMjM0NTY3ODkwIiwi", 12) + ".c2lnbmF0dXJl-x_1"
	for name, body := range bodies(8 << 20) {
		for secret, value := range map[string]string{"key": key, "jwt": jwt, "slashes": "abc/def+ghi==", "short": "solar"} {
			r := &redact.Redactor{}
			r.Add(value, "Bearer")
			b.Run(name+"/"+secret, func(b *testing.B) {
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					r.Bytes(body)
				}
			})
		}
	}
}
