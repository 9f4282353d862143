package draft

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/policy"
)

// New makes a draft. Both of its files are valid, and all cases pass.
func New(o Options) (Draft, error) {
	if o.File == "" {
		o.File = o.Name + ".yaml"
	}
	if len(o.Answers) == 0 {
		at, proposal := o.verdict()
		text := append(starter(o), proposal...)
		_, err := o.Load(text)
		return Draft{Policy: text, Verdict: at}, err
	}
	base, err := o.Load([]byte(head(o)))
	if err != nil {
		return Draft{}, err
	}
	answers := slices.Clone(o.Answers)
	bodies := make([]any, len(answers))
	for i := range answers {
		answers[i].Body = Clip(answers[i].Body)
		bodies[i] = decode(answers[i].Body)
	}
	read := readBlock(base, propose(answers, bodies))
	reader, err := o.Load([]byte(head(o) + read))
	if err != nil {
		return Draft{}, fmt.Errorf("the proposed block read: %w", err)
	}
	list := groups(answers, bodies, reader)
	rest := list[min(len(list), maxRules):]
	list = list[:len(list)-len(rest)]
	nameGroups(list, base.Rules())

	var w bytes.Buffer
	w.WriteString(introduction(o, len(answers), len(list)))
	at, proposal := o.verdict()
	w.WriteString(head(o) + read + proposal + waitBlock(answers, bodies) + "\nrules:\n")
	d := Draft{Verdict: at}
	for _, g := range list {
		v := judge(reader, g)
		active := v.safe && v.Action != policy.ActionSucceed
		w.WriteString(ruleText(g, v, active, o.Extends, len(codePlaces(reader)) > 0, o.Results))
		d.Rules = append(d.Rules, Rule{ID: g.id, Status: g.status, Code: g.code, Answers: g.count, Active: active})
	}
	if left := countOf(rest); left > 0 {
		fmt.Fprintf(&w, "\n  # %d more kinds are left out, with %s together.\n", len(rest), plural(left, "answer"))
	}
	d.Policy = w.Bytes()
	made, err := o.Load(d.Policy)
	if err != nil {
		return Draft{}, fmt.Errorf("the draft is not valid: %w", err)
	}
	d.Cases, err = casesText(o, list, made)
	return d, err
}

// verdict returns the place at which successes differ, if any, and proposes to read it.
func (o Options) verdict() (at, proposal string) {
	if m := o.Successes.verdict(); m != nil {
		return m.path, m.text(o.Extends)
	}
	return "", ""
}

func countOf(list []*group) int {
	n := 0
	for _, g := range list {
		n += g.count
	}
	return n
}

// codePlaces returns the places at which a policy looks for a code.
func codePlaces(p *policy.Policy) string { return tried(p, policy.ReadingCode) }

// tried returns the places of one key of the block read.
func tried(p *policy.Policy, what string) string {
	for _, r := range p.Readings(policy.Response{Status: 200}) {
		if r.What == what {
			return r.Place
		}
	}
	return ""
}

// casesText writes a case for each kind and runs it. What a case expects is what the
// draft decides.
func casesText(o Options, list []*group, p *policy.Policy) ([]byte, error) {
	var w bytes.Buffer
	fmt.Fprintf(&w, "# Answers that no rule knew, one of each kind, and what %s decides about them now.\n"+
		"# If you decide otherwise there, change what the case expects.\npolicy: %s\ncases:\n", o.File, quote("./"+o.File))
	written := 0
	for _, g := range list {
		for _, k := range g.kinds[:min(len(g.kinds), maxCases)] {
			text, err := caseText(g, k, p)
			if err != nil {
				return nil, err
			}
			written++
			w.WriteString(text)
		}
	}
	cases, err := policy.ParseCases(o.Name+".cases.yaml", w.Bytes(), p)
	if err != nil {
		return nil, fmt.Errorf("the cases are not valid: %w", err)
	}
	for _, r := range policy.RunCases(cases) {
		if !r.Passed() {
			return nil, errors.New("a case does not pass: " + r.Case.Name + ": " + strings.Join(r.Problems, "; "))
		}
	}
	return w.Bytes(), nil
}

func caseText(g *group, k kind, p *policy.Policy) (string, error) {
	name := "HTTP " + strconv.Itoa(g.status)
	if g.code != "" {
		name += ", code " + clean(g.code, 60)
	}
	if len(g.kinds) > 1 {
		name += ", " + clean(k.shape, 80)
	}
	name += ": " + plural(k.count, "answer") + ", first " + clean(k.first.Key, 60)
	path, _, _ := strings.Cut(k.first.Path, "?")
	response := fmt.Sprintf("      status: %d\n", g.status)
	if len(k.first.Header) > 0 {
		response += "      headers: " + headers(k.first.Header) + "\n"
	}
	if len(k.first.Body) > 0 {
		response += "      body: " + bodyText(k.first.Body) + "\n"
	}
	text := func(expect string) string {
		return fmt.Sprintf("\n  - name: %s\n    request: {method: %s, path: %s}\n    response:\n%s    expect: {%s}\n",
			quote(name), quote(k.first.Method), quote(path), response, expect)
	}
	// The case is read back, so that it expects what it itself leads to.
	cases, err := policy.ParseCases("case", []byte("policy: http\ncases:\n"+text("class: ok")), p)
	if err != nil {
		return "", fmt.Errorf("a case is not valid: %w", err)
	}
	d := policy.RunCases(cases)[0].Decision
	expect := fmt.Sprintf("rule: %s, class: %s, job: %s", quote(d.Rule), d.Class, d.Action)
	if o := p.ReadAnswer(cases.Cases[0].Response); o.Code != "" {
		expect += ", code: " + quote(o.Code)
	}
	return text(expect), nil
}
