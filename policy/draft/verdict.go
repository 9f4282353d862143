package draft

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/place"
)

// verdictNames are the usual names of members that say how a call went, in lower case
// without "_" and "-"; the higher, the more usual. The name may also be that of the object
// around the member.
var verdictNames = map[string]int{
	"verdict": 10, "errorcode": 10, "errcode": 10, "resultcode": 10, "returncode": 10, "retcode": 10, "statuscode": 9, "outcome": 8, "code": 8,
	"status": 7, "result": 7, "ret": 6, "state": 5, "success": 5, "ok": 5, "reason": 4,
}

const (
	// mostVerdicts is how many values a verdict has at most, and mostMembers how many
	// members are looked at.
	mostVerdicts = 12
	mostMembers  = 200
	// leastSuccesses is how many good answers tell a verdict from other members.
	leastSuccesses = 5
)

// Successes counts what answers that a rule took for a success by their status say at
// members that may be verdicts. The zero value is ready to use.
type Successes struct {
	answers int
	members map[string]*member
}

// member is a place of good answers with the values there.
type member struct {
	path    string
	score   int
	answers int
	values  map[string]int
}

// Add adds an answer. It ignores those that are no success by their status alone.
func (s *Successes) Add(a Answer) {
	if a.Status < 200 || a.Status > 299 || a.Class != string(policy.ClassOK) || !slices.Contains(statusRules(), a.Rule) {
		return
	}
	body := decode(a.Body)
	if body == nil {
		return
	}
	if s.members == nil {
		s.members = map[string]*member{}
	}
	s.answers++
	walk(body, found{path: "$"}, func(f found) {
		score := cmp.Or(verdictNames[f.name], verdictNames[f.parent]-1)
		value := verdictText(f.value)
		if score <= 0 || value == "" || strings.Contains(f.path, "[*]") {
			return
		}
		m := s.members[f.path]
		if m == nil {
			if len(s.members) == mostMembers {
				return
			}
			m = &member{path: f.path, score: 2*score - f.depth, values: map[string]int{}}
			s.members[f.path] = m
		}
		m.answers++
		if m.values[value] > 0 || len(m.values) <= mostVerdicts {
			m.values[value]++
		}
	})
}

// verdictText returns a value that can say how a call went: a word, a whole number, true
// or false.
func verdictText(v any) string {
	switch v := v.(type) {
	case bool:
		return fmt.Sprint(v)
	case json.Number:
		if text := v.String(); !strings.ContainsAny(text, ".eE") {
			return text
		}
	case string:
		const longest = 40
		if len(v) <= longest && !strings.Contains(v, "://") && !strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' }) {
			return v
		}
	}
	return ""
}

// verdict returns the member that most probably says how a call went: nearly every answer
// has it, and the answers differ there.
func (s *Successes) verdict() *member {
	if s == nil || s.answers < leastSuccesses {
		return nil
	}
	list := slices.SortedFunc(maps.Values(s.members), func(a, b *member) int {
		return cmp.Or(b.score-a.score, strings.Compare(a.path, b.path))
	})
	for _, m := range list {
		_, err := place.Parse(m.path)
		if n := len(m.values); err == nil && n >= 2 && n <= mostVerdicts && 2*n <= m.answers && 10*m.answers >= 9*s.answers {
			return m
		}
	}
	return nil
}

// text proposes in a comment to read the member, with a rule for each value.
func (m *member) text(base string) string {
	values := slices.SortedFunc(maps.Keys(m.values), func(a, b string) int {
		return cmp.Or(m.values[b]-m.values[a], strings.Compare(a, b))
	})
	var counts []string
	for _, v := range values {
		counts = append(counts, fmt.Sprintf("%s %d", clean(v, 40), m.values[v]))
	}
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, "# "+format+"\n", args...) }
	b.WriteString("\n")
	line("Answers with a 2xx, which %s takes for successes, differ at %s: %s.", clean(base, 100), clean(m.path, 200), strings.Join(counts, ", "))
	line("If that says how the call went, add %s to code in read, and decide for each value. The first", quote(m.path))
	line("is taken for the good one here. Rules:")
	taken := map[string]bool{"": true, "other": true}
	for i, v := range values {
		word := slug(v)
		for n := 2; taken[word]; n++ {
			word = fmt.Sprintf("%s-%d", cmp.Or(slug(v), "value"), n)
		}
		taken[word] = true
		decision := "class: unknown, job: dead_letter"
		if hint := suggest(v, ""); i == 0 {
			decision = "job: succeed"
		} else if hint != nil {
			decision = strings.Join(hint.decision, ", ")
		}
		line("  - {id: verdict-%s, match: {http: [\"2xx\"], code: [%s]}, %s}", word, quote(policy.CanonicalCode(v)), decision)
	}
	line("  - {id: verdict-other, match: {http: [\"2xx\"], code: [any]}, class: unknown, job: dead_letter}")
	return b.String()
}
