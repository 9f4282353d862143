package draft

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

// successes are so many good answers of each body.
func successes(bodies map[string]int) *Successes {
	s := &Successes{}
	for body, n := range bodies {
		for range n {
			s.Add(Answer{Status: 200, Class: "ok", Rule: "ok", Body: []byte(body)})
		}
	}
	return s
}

func TestAMemberAtWhichSuccessesDifferIsProposedAsACode(t *testing.T) {
	s := successes(map[string]int{
		`{"outcome": {"verdict": "FINE"}, "height": 3.25}`: 22, `{"outcome": {"verdict": "NO", "why": "latitude"}}`: 2,
		`{"outcome": {"verdict": "SLOW", "again": "PT1.8S"}}`: 2,
	})
	for name, answers := range map[string][]Answer{"with other answers": {answer(418, "anything-else", "tea")}, "alone": nil} {
		d, err := New(Options{Name: "my", Extends: "http", Load: load, Answers: answers, Successes: s})
		if err != nil {
			t.Fatal(err)
		}
		text := string(d.Policy)
		if !strings.Contains(text, "# Answers with a 2xx, which http takes for successes, differ at $.outcome.verdict: FINE 22, NO 2, SLOW 2.\n") {
			t.Errorf("%s: the verdict is not named:\n%s", name, text)
		}
		rules := regexp.MustCompile(`(?m)^#   (- \{id: verdict-.*)$`).FindAllStringSubmatch(text, -1)
		active := "extends: http\nread: {code: [\"$.outcome.verdict\"]}\nrules:\n"
		for _, rule := range rules {
			active += "  " + rule[1] + "\n"
		}
		p, err := load([]byte(active))
		if err != nil || len(rules) != 4 {
			t.Fatalf("%s: %d rules, %v\n%s", name, len(rules), err, active)
		}
		for verdict, want := range map[string]policy.Action{"FINE": policy.ActionSucceed, "NO": policy.ActionDeadLetter, "NEW": policy.ActionDeadLetter} {
			o := p.ReadAnswer(policy.Response{Status: 200, Body: fmt.Appendf(nil, `{"outcome": {"verdict": %q}}`, verdict)})
			if got := p.Decide(o, policy.Attempt{}).Action; got != want {
				t.Errorf("%s: %s is decided as %s, want %s", name, verdict, got, want)
			}
		}
	}
}

func TestWhatIsNoVerdictIsNotProposed(t *testing.T) {
	for name, bodies := range map[string]map[string]int{
		"one value":                 {`{"status": "ok"}`: 20},
		"another name":              {`{"city": "Bern"}`: 10, `{"city": "Basel"}`: 10},
		"a value of its own each":   {`{"status": "a"}`: 1, `{"status": "b"}`: 1, `{"status": "c"}`: 1, `{"status": "d"}`: 1, `{"status": "e"}`: 1},
		"sentences":                 {`{"status": "all is well"}`: 10, `{"status": "nothing is well"}`: 10},
		"in few answers":            {`{"status": "a"}`: 2, `{"status": "b"}`: 2, `{"x": 1}`: 20},
		"in a list":                 {`{"list": [{"status": "a"}]}`: 10, `{"list": [{"status": "b"}]}`: 10},
		"too few answers":           {`{"status": "a"}`: 2, `{"status": "b"}`: 2},
		"values with a fraction":    {`{"result": 1.5}`: 10, `{"result": 2.5}`: 10},
		"bodies that are not JSON":  {`<status>a</status>`: 10, `<status>b</status>`: 10},
		"members that nest as data": {`{"data": {"deep": {"x": "a"}}}`: 10, `{"data": {"deep": {"x": "b"}}}`: 10},
	} {
		if m := successes(bodies).verdict(); m != nil {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	var none *Successes
	if none.verdict() != nil {
		t.Error("no answers have a verdict")
	}
}

func TestTheBestVerdictIsProposed(t *testing.T) {
	m := successes(map[string]int{
		`{"state": "a", "resultCode": 0, "list": {"status": "x"}}`: 10, `{"state": "b", "resultCode": 7, "list": {"status": "y"}}`: 10,
	}).verdict()
	if m == nil || m.path != "$.resultCode" {
		t.Errorf("got %+v", m)
	}
}
