package policy

import (
	"strings"
	"testing"
	"testing/fstest"
)

func TestPresetsPassTheirRecordedCases(t *testing.T) {
	for _, name := range Presets() {
		cases, err := PresetCases(name)
		if err != nil {
			t.Fatal(err)
		}
		results := RunCases(cases)
		for _, r := range results {
			if !r.Passed() {
				t.Errorf("%s:%d: %s: %s", r.Case.File, r.Case.Line, r.Case.Name, strings.Join(r.Problems, "; "))
			}
		}
		if rest := cases.Uncovered(results); len(rest) > 0 {
			t.Errorf("preset %s: no case reaches the rules %v", name, rest)
		}
		if title := PresetTitle(name); len(title) < 20 || len(title) > 120 {
			t.Errorf("preset %s has the title %q", name, title)
		}
	}
}

func TestAFailedCaseListsItsDifferences(t *testing.T) {
	fsys := fstest.MapFS{
		"p/my.yaml": {Data: []byte("extends: patsnap\n")},
		"cases.yaml": {Data: []byte(`policy: p/my.yaml
cases:
  - name: wrong in two ways
    response: {status: 200, body: {status: false, error_code: 67200001}}
    expect: {job: drop, circuit: {hold: rate}}
`)},
	}
	cases, err := LoadCases(fsys, "cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	results := RunCases(cases)
	got := strings.Join(results[0].Problems, "; ")
	if want := "job is park, expected drop; circuit.hold is quota, expected rate"; got != want || results[0].Passed() {
		t.Errorf("got %q, want %q", got, want)
	}
	if results[0].Case.Line != 3 {
		t.Errorf("the case is on line %d, want 3", results[0].Case.Line)
	}
}

func TestABodyGivenAsYAMLKeepsEveryDigit(t *testing.T) {
	f := readCases("c.yaml", []byte(`policy: http
cases:
  - name: digits
    response: {status: 200, headers: {Retry-After: 30}, body: {n: 12345678901234567890.10, l: [true, null, "a\nb"]}}
    expect: {job: succeed}
`))
	if err := f.Err(); err != nil {
		t.Fatal(err)
	}
	r := f.cases[0].Response
	if got, want := string(r.Body), `{"n":12345678901234567890.10,"l":[true,null,"a\nb"]}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := r.Header.Get("Retry-After"); got != "30" {
		t.Errorf("Retry-After is %q, want 30", got)
	}
}

func TestEachErrorInACasesFileNamesItsPlace(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no policy":        {"cases: [{name: a, response: {status: 200}, expect: {job: drop}}]", "c.yaml:1:1: the file of cases names no policy"},
		"no cases":         {"policy: http", "c.yaml:1:1: the file of cases has no case"},
		"nothing expected": {"policy: http\ncases:\n  - name: a\n    response: {status: 200}\n    expect: {}", "c.yaml:5:13: cases[0].expect expects nothing"},
		"no response":      {"policy: http\ncases:\n  - name: a\n    expect: {job: drop}", "c.yaml:3:5: cases[0] has no response"},
		"both":             {"policy: http\ncases:\n  - name: a\n    response: {status: 200, transport: dns}\n    expect: {job: drop}", "c.yaml:4:15: cases[0].response has both a transport and an answer"},
		"unknown key":      {"policy: http\ncases:\n  - nam: a\n    response: {status: 200}\n    expect: {job: drop}", `c.yaml:3:5: unknown key "nam" in cases[0]`},
		"unknown job":      {"policy: http\ncases:\n  - name: a\n    response: {status: 200}\n    expect: {job: dropp}", `c.yaml:5:19: cases[0].expect.job is "dropp"`},
		"unknown policy":   {"policy: nosuch\ncases:\n  - name: a\n    response: {status: 200}\n    expect: {job: drop}", "c.yaml:1:9: policy: no preset is called"},
	} {
		_, err := LoadCases(fstest.MapFS{"c.yaml": {Data: []byte(c.file)}}, "c.yaml")
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}

func FuzzCases(f *testing.F) {
	f.Add([]byte("policy: http\ncases:\n  - name: a\n    response: {status: 200, body: &a {b: *a}}\n    expect: {job: drop}"))
	f.Add([]byte("policy: [\ncases: &x [*x]"))
	data, err := presetFiles.ReadFile("presets/http.cases.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	p, err := Preset("http")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file := readCases("c.yaml", data)
		if file.Failures() == 0 {
			RunCases(&Cases{Policy: p, Cases: file.cases})
		}
	})
}
