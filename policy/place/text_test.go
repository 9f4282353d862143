package place

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

func bodyPlace(t testing.TB) Place {
	t.Helper()
	p, err := Parse("body")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func readText(p Place, body string) []string {
	return texts(NewSet([]Place{p}).ReadText([]byte(body)).At(p))
}

func TestAPlaceFindsAPartOfAText(t *testing.T) {
	body := bodyPlace(t)
	for _, tt := range []struct {
		place Place
		text  string
		want  []string
	}{
		{body, "ERR_LIMIT", []string{"ERR_LIMIT"}},
		{body, "", nil},
		{body.Finding(regexp.MustCompile("<c>([A-Z]+)</c>")), "<e><c>OLD</c><c>NEW</c></e>", []string{"OLD"}},
		{body.Finding(regexp.MustCompile("<c>([A-Z]+)</c>")), "<e><c>1</c></e>", nil},
		{body.Finding(regexp.MustCompile("a=([0-9]+)|b=([0-9]+)")), "b=2", nil}, // the first group has no part
		{body.Finding(regexp.MustCompile("[0-9]+")), "n 17", []string{"17"}},
		{body.Matching(regexp.MustCompile("a=([0-9]+)|b=([0-9]+)")), "b=2", []string{"b=2"}},
		{body.Matching(regexp.MustCompile("c")), "b=2", nil},
	} {
		if got := readText(tt.place, tt.text); !slices.Equal(got, tt.want) {
			t.Errorf("%s of %q: got %q, want %q", tt.place, tt.text, got, tt.want)
		}
	}
}

func TestAPlaceFindsAPartOfAHeaderAndOfAJSONValue(t *testing.T) {
	header, _ := Parse("header www-authenticate")
	header = header.Finding(regexp.MustCompile(`error="([a-z_]+)"`))
	h := http.Header{"Www-Authenticate": {`Basic realm="x"`, `Bearer error="invalid_token"`}}
	if got := header.InHeader(h); !slices.Equal(got, []string{"invalid_token"}) {
		t.Errorf("got %q", got)
	}
	whole, _ := Parse("$.message")
	part := whole.Finding(regexp.MustCompile(`\(code ([0-9]+)\)`))
	found := NewSet([]Place{whole, part}).Read([]byte(`{"message": "no such row (code 17)"}`))
	if got, all := texts(found.At(part)), texts(found.At(whole)); !slices.Equal(got, []string{"17"}) || !slices.Equal(all, []string{"no such row (code 17)"}) {
		t.Errorf("got %q and %q", got, all)
	}
}

func TestOnlyTheFirst256KiBOfATextAreSearched(t *testing.T) {
	p := bodyPlace(t).Finding(regexp.MustCompile("(END)"))
	if got := readText(p, strings.Repeat(" ", maxSearched-3)+"END"); !slices.Equal(got, []string{"END"}) {
		t.Errorf("at the end of what is searched: got %q", got)
	}
	if got := readText(p, strings.Repeat(" ", maxSearched-2)+"END"); got != nil {
		t.Errorf("across the end: got %q", got)
	}
	long := bodyPlace(t).Finding(regexp.MustCompile("(x+)"))
	if got := readText(long, strings.Repeat("x", maxSearched)); len(got) != 1 || len(got[0]) != maxText {
		t.Errorf("kept %d bytes, want %d", len(got[0]), maxText)
	}
}

func FuzzReadText(f *testing.F) {
	for _, find := range []string{"<c>([A-Z]+)</c>", "(a*)*b", "(?i)closed|(?s)<t>(.*?)</t>", "", `\x80(.)`} {
		f.Add(find, []byte("<e><c>TOKEN_OLD</c><t>\xff\x00</t></e>"))
	}
	f.Fuzz(func(t *testing.T, find string, body []byte) {
		re, err := regexp.Compile(find)
		if err != nil {
			return
		}
		p := bodyPlace(t)
		set := NewSet([]Place{p, p.Finding(re), p.Matching(re)})
		began := time.Now()
		found := set.ReadText(body)
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("%q took %v for %d bytes", find, took, len(body))
		}
		if matched := len(found.At(p.Matching(re))) == 1; matched != (len(body) > 0 && re.Match(body[:min(len(body), maxSearched)])) {
			t.Fatalf("%q in %q: found is %v", find, body, matched)
		}
		for place, values := range found {
			if len(values) != 1 || len(values[0].Text) > maxText || !strings.Contains(place, "body") {
				t.Fatalf("%s has %d values", place, len(values))
			}
		}
	})
}

func BenchmarkReadText(b *testing.B) {
	body := []byte("<envelope>" + strings.Repeat("<row><id>1</id><text>some words</text></row>", 8<<10) + "</envelope>")
	set := NewSet([]Place{bodyPlace(b).Finding(regexp.MustCompile("<c>([A-Z_]+)</c>"))})
	b.SetBytes(int64(min(len(body), maxSearched)))
	for b.Loop() {
		set.ReadText(body)
	}
}
