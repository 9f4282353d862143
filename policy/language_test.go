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
	for _, e := range examples {
		text := e[1]
		if strings.HasPrefix(text, "policy:") {
			runExampleCases(t, examples[0][1], text)
			continue
		}
		if !strings.HasPrefix(text, "version:") { // it shows a part of a policy
			text = "version: 1\nname: example\nextends: http\n" + text
		}
		if _, err := Parse("README.md", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
	}
}

// runExampleCases runs cases against the reference's first policy.
func runExampleCases(t *testing.T, policy, cases string) {
	t.Helper()
	c, err := LoadCases(fstest.MapFS{"my-api.yaml": {Data: []byte(policy)}, "cases.yaml": {Data: []byte(cases)}}, "cases.yaml")
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
