package policy

import (
	"regexp"
	"strings"
	"testing"
)

func TestTheExamplesOfTheReferenceAreValidPolicies(t *testing.T) {
	examples := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(Language, -1)
	if len(examples) < 3 {
		t.Fatalf("the reference has only %d examples", len(examples))
	}
	for _, e := range examples {
		text := e[1]
		if !strings.HasPrefix(text, "version:") { // it shows a part of a policy
			text = "version: 1\nname: example\nextends: http\n" + text
		}
		if _, err := Parse("README.md", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
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
