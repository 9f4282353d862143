package policy

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Explanation is a decision with the reasons for it.
type Explanation struct {
	Decision Decision
	// Where is where the rule is written, "FILE:LINE:COL".
	Where string
	// Fields are the fields of the rule's match, by their keys in a policy file.
	Fields []string
	// Missed are the rules before it, in order, none of which matched.
	Missed []Miss
}

// Miss says why a rule did not match: the first field that did not match, what the
// rule wanted there, as YAML, and what the outcome had instead.
type Miss struct {
	Rule   string
	Where  string
	Field  string
	Wanted string
	Got    string
}

// Explain decides like [Policy.Decide] and returns the reasons too.
func (p *Policy) Explain(o Outcome, a Attempt) Explanation {
	e := Explanation{Decision: p.Decide(o, a)}
	in := newInput(&o, &a)
	for i := range p.rules {
		r := &p.rules[i]
		f := r.match.miss(&in)
		if f == 0 {
			e.Where, e.Fields = r.at.String(), r.match.names()
			break
		}
		e.Missed = append(e.Missed, Miss{
			Rule: r.id, Where: r.at.String(), Field: f.String(), Wanted: r.match.shown[f], Got: in.got(f, &r.match, o.Transport),
		})
	}
	return e
}

// got returns what the input has in a field that did not match m.
func (in *input) got(f field, m *match, t Transport) string {
	if f == fieldTransport && in.answered {
		return "an answer"
	}
	switch f {
	case fieldTransport:
		return shorten(string(t))
	case fieldIdempotent:
		return strconv.FormatBool(in.idempotent)
	case fieldConditional:
		return strconv.FormatBool(in.conditional)
	case fieldEndpoint:
		return shorten(in.method + " " + in.path)
	}
	if !in.answered {
		return "no answer (" + shorten(string(t)) + ")"
	}
	switch f {
	case fieldCode:
		return orNone(in.code)
	case fieldHTTP:
		return strconv.Itoa(in.status)
	case fieldFlag:
		return string(in.flag)
	case fieldBody:
		for i, b := range bodies {
			if in.body == 1<<i {
				return string(b)
			}
		}
		return "none"
	case fieldHeader:
		return in.gotHeaders(m)
	case fieldWhere:
		return in.gotWhere(m)
	case fieldLimitUsedUp:
		return strconv.FormatBool(limitUsedUp(in.outcome.Header, in.outcome.ReceivedAt))
	default:
		return orNone(in.message())
	}
}

// gotHeaders returns only the headers that m names: others may hold secrets.
func (in *input) gotHeaders(m *match) string {
	got := map[string]string{}
	for _, h := range m.headers {
		got[h.name] = orNone(strings.Join(in.outcome.Header[h.name], ", "))
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(got)) {
		parts = append(parts, name+": "+got[name])
	}
	return strings.Join(parts, ", ")
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return shorten(s)
}

// shorten shortens a text that an API sent, and escapes its control characters, which
// could change the terminal.
func shorten(s string) string {
	const most = 80
	if r := []rune(s); len(r) > most {
		s = string(r[:most]) + "…"
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}
