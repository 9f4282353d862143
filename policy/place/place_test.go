package place

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

func read(t testing.TB, text, body string) []Value {
	t.Helper()
	p, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if !IsJSON([]byte(body)) {
		t.Fatalf("%.80s is not JSON", body)
	}
	return NewSet([]Place{p}).Read([]byte(body))[p.String()]
}

func texts(values []Value) []string {
	var out []string
	for _, v := range values {
		out = append(out, v.Text)
	}
	return out
}

func TestAPlaceFindsTheValuesOfABody(t *testing.T) {
	for _, tt := range []struct {
		place, body string
		want        []string
	}{
		{"$.error.code", `{"error": {"code": "insufficient_quota"}}`, []string{"insufficient_quota"}},
		{"$['error']['code']", `{"error": {"code": 42}}`, []string{"42"}},
		{"$.error.code", `{"error": {"code": 12345678901234567890.50}}`, []string{"12345678901234567890.50"}},
		{"$.error.code", `{"error": {"code": null}}`, nil},
		{"$.error.code", `{"error": "oops"}`, nil},
		{"$.error.code", `[{"error": {"code": 1}}]`, nil},
		{"$.ok", `{"ok": false}`, []string{"false"}},
		{"$.error", `{"error": {"a": [1]}}`, []string{`{"a": [1]}`}},
		{"$[0].errorCode", `[{"errorCode": "REQUEST_LIMIT_EXCEEDED"}, {"errorCode": "B"}]`, []string{"REQUEST_LIMIT_EXCEEDED"}},
		{"$[*].errorCode", `[{"errorCode": "A"}, {"x": 1}, {"errorCode": "B"}]`, []string{"A", "B"}},
		{"$.errors[*].extensions.code", `{"errors": [{"extensions": {"code": "THROTTLED"}}]}`, []string{"THROTTLED"}},
		{"$.error.details[?@.reason=='RATE'].retryDelay", `{"error": {"details": [{"reason": "X", "retryDelay": "1s"}, {"reason": "RATE", "retryDelay": "13s"}]}}`, []string{"13s"}},
		{"$..code", `{"a": {"code": 1}, "b": [{"code": "two"}]}`, []string{"1", "two"}},
		{"$.é", `{"\u00e9": 1}`, []string{"1"}},
		{"$", `"gone"`, []string{"gone"}},
		{"$.a", `{"a": 1, "a": 2}`, []string{"2"}},
		{"$.a.b", `{"a": {"b": 1}, "a": {}}`, nil},
		{"$.a[0]", `{"a": [1], "a": []}`, nil},
	} {
		if got := texts(read(t, tt.place, tt.body)); !slices.Equal(got, tt.want) {
			t.Errorf("%s of %s: got %q, want %q", tt.place, tt.body, got, tt.want)
		}
	}
}

func TestAllPlacesOfASetAreFoundInOneRead(t *testing.T) {
	var places []Place
	for _, text := range []string{"$.a", "$.a.b", "$.a.c[*]", "$.a.c[0]", "header X-Code", "$.z"} {
		p, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p)
	}
	found := NewSet(places).Read([]byte(`{"a": {"b": true, "c": [1, "x"]}}`))
	for text, want := range map[string][]string{
		"$.a": {`{"b": true, "c": [1, "x"]}`}, "$.a.b": {"true"}, "$.a.c[*]": {"1", "x"}, "$.a.c[0]": {"1"},
	} {
		if got := texts(found[text]); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
	if len(found) != 4 {
		t.Errorf("got %d places, want 4: %v", len(found), found)
	}
}

func TestAHeaderIsFoundInAnyCase(t *testing.T) {
	p, err := Parse("header x-rate-LIMIT-reset")
	if err != nil {
		t.Fatal(err)
	}
	h := http.Header{}
	h.Add("X-Rate-Limit-Reset", "1")
	h.Add("X-Rate-Limit-Reset", "2")
	if got := p.InHeader(h); !slices.Equal(got, []string{"1", "2"}) {
		t.Errorf("got %q", got)
	}
	if p.String() != "header x-rate-limit-reset" {
		t.Errorf("got %q", p)
	}
}

func TestWhatIsNotAPlaceIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "begins with $",
		"error.code":                         "begins with $",
		"header ":                            "is not a header name",
		"header a b":                         "is not a header name",
		"$.a[":                               "unexpected eof, at its character 5",
		"$.a b":                              "at its character",
		"$..a..b":                            "more than once",
		"$[?@.a == $.b]":                     "starts again from $",
		"$[?@..a]":                           ".. in or after a filter",
		"$[?@.a]..b":                         ".. in or after a filter",
		"$[?@[?@[?@[?@.a]]]]":                "has 4 filters",
		"$" + strings.Repeat("['a','a']", 7): "more than 64 times",
		"$" + strings.Repeat(".a", 300):      "longer than 512 bytes",
	} {
		_, err := Parse(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	_, err := Parse("$.error[")
	var syntax *SyntaxError
	if !errors.As(err, &syntax) || syntax.Column != 9 {
		t.Errorf("got %#v, want column 9", err)
	}
	if _, err := Parse(`$["a..b?$"]["c..d"]`); err != nil {
		t.Errorf("what stands in quotes is a name: %v", err)
	}
}

func TestOfAPartThatIsTooLargeItsBeginningIsJudged(t *testing.T) {
	many := `{"errors": [{"code": "FIRST"}` + strings.Repeat(`, {"code": "NEXT"}`, maxPart/10) + `]}`
	values := read(t, "$.errors[*].code", many)
	if len(values) != maxValues || values[0].Text != "FIRST" || values[1].Text != "NEXT" {
		t.Errorf("got %d values, the first %q", len(values), values[0].Text)
	}
	// A number that the limit cuts through is not taken for a smaller one.
	number := `{"a": ["` + strings.Repeat("x", maxPart-8) + `", 1234567890]}`
	if got := read(t, "$.a[1]", number); got != nil {
		t.Errorf("got %v of a number that was cut", got)
	}
	behind := `{"pad": "` + strings.Repeat("x", maxWhole) + `", "error": {"code": "BEHIND"}}`
	if got := texts(read(t, "$.error.code", behind)); !slices.Equal(got, []string{"BEHIND"}) {
		t.Errorf("a path of names alone looks through the whole body: got %q", got)
	}
	if got := read(t, "$..code", behind); got != nil {
		t.Errorf("a path without leading names judges the first MiB only: got %v", got)
	}
}

func TestWhatIsKeptOfABodyIsBounded(t *testing.T) {
	body := `{"m": "` + strings.Repeat("é", 5000) + `"}`
	got := read(t, "$.m", body)
	if len(got[0].Text) > maxText || !strings.HasPrefix(got[0].Text, "éé") {
		t.Errorf("kept %d bytes", len(got[0].Text))
	}
}

func TestDeepBracketsAreNotJSON(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	if !IsJSON(deep(maxDepth)) || IsJSON(deep(maxDepth+1)) || IsJSON([]byte(strings.Repeat("[", 1<<22))) {
		t.Error("nesting is not bounded as it should be")
	}
}

func FuzzRead(f *testing.F) {
	for _, path := range []string{"$.a", "$..a", "$[*].b", "$.a[?@.b=='c'].d", "$['a','b'][0:2]", "header x"} {
		f.Add(path, []byte(`{"a": [{"b": "c", "d": 1}], "a": {"b": null}}`))
		f.Add(path, []byte(`[[{"b": 1e999, "a": "\ud800"}]]`))
	}
	f.Fuzz(func(t *testing.T, path string, body []byte) {
		p, err := Parse(path)
		if err != nil || !IsJSON(body) {
			return
		}
		if again, err := Parse(p.String()); err != nil || again.String() != p.String() {
			t.Fatalf("%q does not read back: %v", p, err)
		}
		set := NewSet([]Place{p})
		began := time.Now()
		found, again := set.Read(body), set.Read(body)
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("%q took %v for %d bytes", path, took, len(body))
		}
		if len(found[p.String()]) != len(again[p.String()]) {
			t.Fatalf("two reads of one body differ: %v and %v", found, again)
		}
		for _, v := range found[p.String()] {
			if len(v.Text) > maxText {
				t.Fatalf("kept %d bytes", len(v.Text))
			}
		}
	})
}

func BenchmarkRead(b *testing.B) {
	body := []byte(`{"status":true,"error_code":0,"data":{"results":[` + strings.Repeat(`{"patent_id":"US1","title":"solar cell"},`, 100) + `{}]}}`)
	var places []Place
	for _, text := range []string{"$.status", "$.error_code", "$.error_msg", "$.errors[*].code"} {
		p, _ := Parse(text)
		places = append(places, p)
	}
	set := NewSet(places)
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		set.Read(body)
	}
}
