package policy

import (
	"net/http"
	"reflect"
	"testing"
	"time"
)

// recordedUnder is the record that a worker with the policy writes of an answer.
func recordedUnder(p *Policy, r Response, a Attempt) Recorded {
	o := p.ReadAnswer(r)
	o.ReceivedAt = r.At
	k := p.Kept(o, a)
	kept := k.Outcome()
	kept.Transport, kept.ReceivedAt = r.Transport, r.At
	return Recorded{Outcome: kept, Looked: k.Looked, Partial: k.Partial}
}

// presetAnswers are the answers of all recorded cases of all presets.
func presetAnswers(t *testing.T) (policies []*Policy, cases []Case) {
	t.Helper()
	for _, name := range Presets() {
		one, err := PresetCases(name)
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, one.Policy)
		cases = append(cases, one.Cases...)
	}
	for name, text := range map[string]string{
		"keeping.yaml": keepingPolicy,
		"flag.yaml":    "extends: http\nread: {ok: [\"header x-ok\", $.success]}\nrules: [{id: no, match: {status_flag: \"false\"}, job: drop}, {id: odd, match: {body: [malformed]}, job: drop}]",
		"text.yaml": "extends: http\nread: {code: [{from: body, find: \"<Code>([A-Za-z]+)\"}, $.code, \"header x-error-code\"]}\n" +
			"rules: [{id: fault, match: {code: [any]}, job: drop}, {id: page, match: {where: {body: \"(?i)<html\"}}, job: drop}, {id: plain, match: {where: {body: present}}, job: park}]",
		"silent.yaml": "extends: patsnap\nread: {code: [], ok: []}\nrules: [{id: busy, match: {http: [\"4xx\"], message: busy}, job: park}]",
	} {
		p, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		policies = append(policies, p)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for i := range cases {
		if cases[i].Response.At.IsZero() {
			cases[i].Response.At = at
		}
	}
	return policies, cases
}

// Whatever policy an attempt was recorded under, another one is sure of no decision that it
// would not make on the answer itself.
func TestASureDecisionOnARecordIsTheOneOnTheAnswer(t *testing.T) {
	policies, cases := presetAnswers(t)
	sure, inDoubt, bodies := 0, 0, 0
	for i, then := range policies {
		for j, now := range policies {
			for k, c := range cases {
				if (i+j+k)%12 != 0 { // all of them take long
					continue
				}
				a := c.Request.attempt()
				o := now.ReadAnswer(c.Response)
				o.ReceivedAt = c.Response.At
				want := now.Decide(o, a)
				r := recordedUnder(then, c.Response, a)
				got, doubts := DecideRecorded(now, r, a)
				if len(doubts) > 0 {
					inDoubt++
				} else if sure++; got.Rule != want.Rule || got.Action != want.Action {
					t.Errorf("%s under %s, by %s: rule %s, want %s", c.Name, then.Name(), now.Name(), got.Rule, want.Rule)
				}
				// The body of a call's last answer is kept, with the headers of the attempt.
				whole := c.Response
				whole.Header = http.Header{"Content-Type": c.Response.Header["Content-Type"]}
				for name, values := range r.Outcome.Header {
					whole.Header[name] = values
				}
				r.Answer = &whole
				if got, doubts = DecideRecorded(now, r, a); len(doubts) > 0 {
					bodies++
				} else if got.Rule != want.Rule || got.Action != want.Action {
					t.Errorf("%s under %s, by %s: with its body rule %s, want %s", c.Name, then.Name(), now.Name(), got.Rule, want.Rule)
				}
			}
		}
	}
	if sure < inDoubt/4 || bodies > inDoubt/2 {
		t.Errorf("%d decisions are sure and %d in doubt, of which %d with the body", sure, inDoubt, bodies)
	}
}

func TestThePolicyOfThenIsNotInDoubt(t *testing.T) {
	policies, cases := presetAnswers(t)
	for _, p := range policies {
		for _, c := range cases {
			a := c.Request.attempt()
			if _, doubts := DecideRecorded(p, recordedUnder(p, c.Response, a), a); doubts != nil {
				t.Errorf("%s: %s is in doubt: %v", p.Name(), c.Name, doubts)
			}
		}
	}
}

func TestADoubtNamesTheRuleAndWhatItLooksAt(t *testing.T) {
	parse := func(text string) *Policy {
		p, err := Parse("p.yaml", []byte("extends: http\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	json := func(status int) Response {
		return Response{Status: status, Header: http.Header{"X-Kind": {"a"}, "X-Other": {"b"}}, Body: []byte(`{"code": "busy", "n": 1}`)}
	}
	for _, c := range []struct {
		then, now string
		answer    Response
		want      []Doubt
	}{
		{"", "read: {code: [$.code]}\nrules: [{id: busy, match: {code: [busy]}}]", json(500), []Doubt{{"busy", "code"}}},
		{"", "read: {code: [$.code]}\nrules: [{id: busy, match: {code: [busy]}}]", Response{Status: 500, Body: []byte("plain")}, nil},
		{"", "read: {message: [$.code]}\nrules: [{id: busy, match: {http: [500], message: busy}}]", json(500), []Doubt{{"busy", "message"}}},
		{"", "read: {ok: [$.ok]}\nrules: [{id: no, match: {status_flag: absent}}]", json(500), []Doubt{{"no", "status_flag"}}},
		{"", "rules: [{id: n, match: {where: {$.n: present}}}]", json(500), []Doubt{{"n", "$.n"}}},
		{"", "rules: [{id: n, match: {where: {$.n: present}}}]", Response{Status: 500, Body: []byte("half"), Cut: true}, nil},
		{"", "rules: [{id: n, match: {http: [404], where: {$.n: present}}}]", json(500), nil},
		{"rules: [{id: n, match: {where: {$.n: absent}}}]", "rules: [{id: m, match: {where: {$.n: \"^2$\"}}}]", json(500), nil},
		{"rules: [{id: n, match: {where: {$.m: present}}}]", "rules: [{id: m, match: {where: {$.m: absent}}}]", json(500), nil},
		{"", "rules: [{id: h, match: {header: {X-Kind: a}}}, {id: g, match: {header: {X-Other: b}}}]", json(500), []Doubt{{"h", "header x-kind"}, {"g", "header x-other"}}},
		{"rules: [{id: h, match: {header: {X-Kind: b}}}]", "rules: [{id: g, match: {header: {X-Kind: b, X-Other: b}}}]", json(500), nil},
		{"", "rules: [{id: t, match: {where: {body: present}}}]", json(500), nil},
		{"", "rules: [{id: t, match: {where: {body: plain}}}]", Response{Status: 500, Body: []byte("plain")}, []Doubt{{"t", "body"}}},
		{"rules: [{id: t, match: {where: {body: odd}}}]", "rules: [{id: t, match: {where: {body: odd}}, job: drop}]", Response{Status: 500, Body: []byte("plain")}, nil},
		{"", "rules: [{id: used-up, match: {http: [500], limit_used_up: true}}]", json(500), nil},
	} {
		then, now := parse(c.then), parse(c.now)
		_, got := DecideRecorded(now, recordedUnder(then, c.answer, Attempt{}), Attempt{})
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q under %q: got %v, want %v", c.now, c.then, got, c.want)
		}
	}
}

func TestWhatASuccessKeepsIsWhatARuleMayNeed(t *testing.T) {
	header := http.Header{"X-Kind": {"a"}, "X-Other": {"b"}}
	for text, want := range map[string]http.Header{
		"": nil,
		"rules: [{id: n, match: {http: [503], header: {X-Kind: a}}}]":                     nil,
		"rules: [{id: n, match: {where: {$.n: present}}}]":                                nil,
		"rules: [{id: n, match: {header: {X-Kind: b}}, job: drop}]":                       {"X-Kind": {"a"}},
		"read: {code: [header x-other]}\nrules: [{id: n, match: {code: [c]}, job: drop}]": {"X-Other": {"b"}},
	} {
		p, err := Parse("p.yaml", []byte("extends: http\n"+text))
		if err != nil {
			t.Fatal(err)
		}
		k := KeptOfSuccess(p, p.ReadAnswer(Response{Status: 200, Header: header}), Attempt{})
		if got := k != nil; got != (want != nil) || got && !reflect.DeepEqual(k.Header, want) {
			t.Errorf("%q: got %+v, want %v", text, k, want)
		}
	}
}
