package policy

import (
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheExamplesOfTheReferenceAreValidPolicies(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(Language, -1)
	if len(examples) < 3 {
		t.Fatalf("the reference has only %d examples", len(examples))
	}
	files := fstest.MapFS{}
	for _, e := range examples {
		text := e[1]
		if strings.HasPrefix(text, "policy:") {
			runExampleCases(t, files, text)
			continue
		}
		if name := regexp.MustCompile(`(?m)^name: (\S+)$`).FindStringSubmatch(text); name != nil && files[name[1]+".yaml"] == nil {
			files[name[1]+".yaml"] = &fstest.MapFile{Data: []byte(text)}
		}
		if !strings.HasPrefix(text, "version:") { // it shows a part of a policy
			text = "version: 1\nname: example\nextends: http\n" + text
		}
		if _, err := Parse("README.md", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// runExampleCases runs cases against one of the reference's policies before them.
func runExampleCases(t *testing.T, files fstest.MapFS, cases string) {
	t.Helper()
	files["cases.yaml"] = &fstest.MapFile{Data: []byte(cases)}
	c, err := LoadCases(files, "cases.yaml")
	if err != nil {
		t.Errorf("%v\n%s", err, cases)
		return
	}
	for _, r := range RunCases(c) {
		if !r.Passed() {
			t.Errorf("case %q: %v", r.Case.Name, r.Problems)
		}
	}
}

func TestTheReferenceNamesEveryFieldThatARuleCanMatch(t *testing.T) {
	_, err := Parse("p.yaml", []byte("version: 1\nname: p\nextends: http\nrules: [{id: a, match: {no_such_field: 1}}]\n"))
	if err == nil {
		t.Fatal("an unknown field is accepted")
	}
	_, known, found := strings.Cut(err.Error(), "known keys are ")
	if !found {
		t.Fatal(err)
	}
	names := strings.Split(known, ", ")
	for _, name := range names {
		if !strings.Contains(Language, "| `"+name+"` |") {
			t.Errorf("%s is not in the reference", name)
		}
	}
}
