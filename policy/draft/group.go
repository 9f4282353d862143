package draft

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
)

const (
	// maxRules is how many rules a draft has, and maxCases how many cases one rule has.
	maxRules = 40
	maxCases = 4
)

// group is the answers that one rule is for: those of one status and code.
type group struct {
	status  int
	code    string
	count   int
	id      string
	message string
	// bare reports that no answer has a body or a recorded header.
	bare  bool
	kinds []kind
}

// kind is the answers of a group whose bodies have one shape.
type kind struct {
	shape string
	count int
	first Answer
}

// groups puts answers of one status, code and shape together, the largest group first. p
// reads the code.
func groups(answers []Answer, bodies []any, p *policy.Policy) []*group {
	type key struct {
		status int
		code   string
	}
	byKey := map[key]*group{}
	var list []*group
	for i, a := range answers {
		o := p.ReadAnswer(policy.Response{Status: a.Status, Header: a.Header, Body: a.Body})
		k := key{a.Status, policy.CanonicalCode(o.Code)}
		g := byKey[k]
		if g == nil {
			g = &group{status: k.status, code: k.code, bare: true}
			byKey[k] = g
			list = append(list, g)
		}
		g.count++
		g.bare = g.bare && len(a.Body) == 0 && len(a.Header) == 0
		g.message = cmp.Or(g.message, o.Message)
		shape := shapeOf(bodies[i], o.Body)
		at := slices.IndexFunc(g.kinds, func(k kind) bool { return k.shape == shape })
		if at < 0 {
			at = len(g.kinds)
			g.kinds = append(g.kinds, kind{shape: shape, first: a})
		}
		g.kinds[at].count++
	}
	slices.SortStableFunc(list, func(a, b *group) int {
		return cmp.Or(b.count-a.count, a.status-b.status, strings.Compare(a.code, b.code))
	})
	for _, g := range list {
		slices.SortStableFunc(g.kinds, func(a, b kind) int { return b.count - a.count })
	}
	return list
}

// decode returns a JSON body, or nil.
func decode(body []byte) any {
	if !isJSON(body) {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var v any
	if decoder.Decode(&v) != nil {
		return nil
	}
	return v
}

// shapeOf describes a body by its names, as in {errors[{code,text}]}, or by its kind.
func shapeOf(v any, body policy.Body) string {
	if v == nil {
		return map[policy.Body]string{policy.BodyHTML: "a web page", policy.BodyEmpty: "no body"}[body] + map[bool]string{
			true: "text", false: "",
		}[body != policy.BodyHTML && body != policy.BodyEmpty]
	}
	return shape(v, 0)
}

func shape(v any, depth int) string {
	const mostNames, mostDepth = 8, 4
	switch v := v.(type) {
	case map[string]any:
		if depth == mostDepth {
			return "{…}"
		}
		var parts []string
		for _, name := range sortedNames(v) {
			if len(parts) == mostNames {
				parts = append(parts, "…")
				break
			}
			if len(name) <= 40 && plainStep.MatchString(name) {
				parts = append(parts, name+shape(v[name], depth+1))
			}
		}
		slices.Sort(parts)
		return "{" + strings.Join(parts, ", ") + "}"
	case []any:
		if len(v) == 0 {
			return "[]"
		}
		return "[" + shape(v[0], depth+1) + "]"
	}
	return ""
}

// nameGroups gives each group an id that neither another group nor the policy has.
func nameGroups(list []*group, taken []string) {
	taken = slices.Clone(taken)
	for _, g := range list {
		id := "http-" + strconv.Itoa(g.status)
		if word := slug(g.code); word != "" {
			id += "-" + word
		}
		g.id = id
		for n := 2; slices.Contains(taken, g.id); n++ {
			g.id = id + "-" + strconv.Itoa(n)
		}
		taken = append(taken, g.id)
	}
}

// slug is a code as a part of an id.
func slug(code string) string {
	const longest = 40
	var b strings.Builder
	for _, r := range strings.ToLower(code) {
		switch {
		case b.Len() >= longest:
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}

// verdict is what the extended policy decides about a group, and whether a rule by status
// and code alone can decide the same.
type verdict struct {
	policy.Decision
	// safe is false where the extended policy looks at more than status and code; why
	// then says at what.
	safe bool
	why  string
}

// judge asks the policy about each kind of a group.
func judge(p *policy.Policy, g *group) verdict {
	var v verdict
	for i, k := range g.kinds {
		o := p.ReadAnswer(k.first.response())
		for _, idempotent := range []bool{true, false} {
			e := p.Explain(o, policy.Attempt{Method: http.MethodGet, Endpoint: "GET /", Idempotent: idempotent, N: 1, CanRefresh: true})
			if i == 0 && idempotent {
				v = verdict{Decision: e.Decision, safe: true}
			}
			fields := e.Fields
			for _, m := range e.Missed {
				if m.Field != "transport" {
					fields = append(slices.Clip(fields), m.Field)
				}
			}
			for _, field := range fields {
				if field != "code" && field != "http" && v.safe {
					v.safe, v.why = false, field
				}
			}
			if e.Decision.Exhausted && v.safe {
				v.safe, v.why = false, "attempts"
			}
			if e.Decision.Rule != v.Rule && v.safe {
				v.safe, v.why = false, "body"
			}
		}
	}
	return v
}

func (a Answer) response() policy.Response {
	return policy.Response{Status: a.Status, Header: a.Header, Body: a.Body}
}
