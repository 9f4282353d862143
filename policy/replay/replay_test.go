package replay

import (
	"reflect"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func parse(t testing.TB, text string) *policy.Policy {
	t.Helper()
	p, err := policy.Parse("p.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// recorded makes a call of answers by their statuses, as the policy p decides them.
func recorded(p *policy.Policy, key string, statuses ...int) Call {
	c := Call{Upstream: "api", Key: key, Method: "GET", Endpoint: "GET /x", Idempotent: true, FirstAt: start}
	n := 0
	for i, status := range statuses {
		o := policy.Outcome{Status: status, Flag: policy.FlagTrue, Body: policy.BodyEnvelope}
		about := policy.Attempt{Method: c.Method, Endpoint: c.Endpoint, Idempotent: true, N: n + 1}
		d := p.Decide(o, about)
		c.Attempts = append(c.Attempts, Attempt{
			At: start.Add(time.Duration(i) * time.Minute), N: n + 1, Action: d.Action, Carried: d.Action, Class: d.Class, Rule: d.Rule,
			Answer: o, About: &about, Looked: p.Kept(o, about).Looked,
		})
		if d.Action != policy.ActionPark {
			n++
		}
		c.End = End{State: stateOf(d.Action), Class: string(d.Class), Rule: d.Rule}
	}
	return c
}

const standard = "extends: http\n"

func TestTheSamePolicyChangesNothing(t *testing.T) {
	p := parse(t, standard)
	r := New(p)
	for _, statuses := range [][]int{{200}, {503, 503, 200}, {429, 429, 200}, {503, 503, 503, 503, 503, 503}, {400}, {402}} {
		r.Add(recorded(p, "a", statuses...))
	}
	got := r.Report()
	if got.Calls != 6 || got.Requests != 15 || got.Saved != 0 || got.Added != 0 || len(got.Ends) != 0 || len(got.Judged) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestAnEarlierEndSavesTheRequestsAfterIt(t *testing.T) {
	r := New(parse(t, standard+"rules: [{id: down, match: {http: [503]}, class: transient, job: dead_letter}]"))
	c := recorded(parse(t, standard), "a", 503, 503, 200)
	c.Amount = "0.30"
	r.Add(c)
	got := r.Report()
	if got.Saved != 2 || got.AmountSaved != "0.3" || got.Amount != "0.3" || len(got.Ends) != 1 {
		t.Fatalf("got %+v", got)
	}
	want := Difference{Before: End{Done, "ok", "ok"}, After: End{Dead, "transient", "down"}, Count: 1, Example: "a"}
	if got.Ends[0] != want {
		t.Errorf("got %+v, want %+v", got.Ends[0], want)
	}
}

func TestACallWhoseRecordEndsTooEarlyIsSentAgain(t *testing.T) {
	r := New(parse(t, standard+"backoffs: {standard: {attempts: 9}}"))
	c := recorded(parse(t, standard), "a", 503, 503, 503, 503, 503, 503)
	c.Amount = "1"
	r.Add(c)
	got := r.Report()
	if got.Added != 1 || got.Saved != 0 || got.AmountAgain != "1" || len(got.Ends) != 1 || got.Ends[0].After.State != Again {
		t.Errorf("got %+v", got)
	}
}

func TestParksInPlaceOfRetriesLeaveAttempts(t *testing.T) {
	r := New(parse(t, standard+"rules: [{id: wait, match: {http: [503]}, class: quota, job: park, circuit: {effect: open, hold: quota}}]"))
	r.Add(recorded(parse(t, standard), "a", 503, 503, 200))
	got := r.Report()
	if len(got.Ends) != 0 || got.Saved != 0 || len(got.Judged) != 1 || got.Judged[0].Count != 2 {
		t.Errorf("got %+v", got)
	}
	// The second refusal comes when the first hold, of a minute, is over.
	if got.HeldBefore != 0 || got.Held != 6*time.Minute {
		t.Errorf("held for %v, and for %v by the record", got.Held, got.HeldBefore)
	}
}

func TestAnEndThatTheCircuitMadeStands(t *testing.T) {
	p := parse(t, standard)
	c := recorded(p, "a", 429, 429)
	c.Attempts[1].Carried = policy.ActionDeadLetter
	c.End.State = Dead
	r := New(p)
	r.Add(c)
	if got := r.Report(); len(got.Ends) != 0 || got.Added != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestAProbeThatWasParkedSpendsNoAttempt(t *testing.T) {
	p := parse(t, standard)
	c := recorded(p, "a", 503, 503, 503, 503, 503, 503)
	// The first was a probe: the second has the same number, and the last one is a retry.
	c.Attempts[0].Carried = policy.ActionPark
	for i := range c.Attempts[1:] {
		c.Attempts[i+1].N--
	}
	c.Attempts[5].Action, c.Attempts[5].Carried = policy.ActionRetry, policy.ActionRetry
	c.End = End{State: "cancelled", Class: "cancelled"}
	r := New(p)
	r.Add(c)
	if got := r.Report(); len(got.Ends) != 0 || len(got.Judged) != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestTheBodyOfTheLastAnswerIsReadByTheOtherPolicy(t *testing.T) {
	p := parse(t, standard)
	c := recorded(p, "a", 200)
	c.Last = &policy.Response{Status: 200, Body: []byte(`{"ok": false, "error": "ratelimited"}`)}
	r := New(parse(t, standard+"read: {code: [$.error]}\nrules: [{id: hidden, match: {code: [ratelimited]}, class: quota, job: park}]"))
	r.Add(c)
	got := r.Report()
	want := []Difference{{Before: End{Done, "ok", "ok"}, After: End{Again, "quota", "hidden"}, Count: 1, Example: "a"}}
	if !reflect.DeepEqual(got.Ends, want) {
		t.Errorf("got %+v, want %+v", got.Ends, want)
	}
}

func TestACallIsUncertainWhereTheRecordDoesNotHaveWhatARuleLooksAt(t *testing.T) {
	then := parse(t, standard)
	changed := "rules: [{id: busy, match: {http: [503], where: {$.n: present}}, job: drop}, {id: gone, match: {http: [404]}, job: dead_letter}]"
	r := New(parse(t, standard+changed))
	r.Add(recorded(then, "a", 503, 503, 200)) // it may have been dropped
	r.Add(recorded(then, "b", 503, 404))      // the same, and ends differently if not
	r.Add(recorded(then, "c", 404))
	r.Add(recorded(then, "d", 500, 200))
	got := r.Report()
	if got.Uncertain != 2 || len(got.Ends) != 1 || got.Ends[0].Example != "c" || got.Saved != 0 || got.Added != 0 {
		t.Errorf("got %+v", got)
	}
	if len(got.Perhaps) != 1 || got.Perhaps[0].Example != "b" {
		t.Errorf("got %+v", got.Perhaps)
	}
	if want := []Doubt{{"busy", "$.n", 3}}; !reflect.DeepEqual(got.Doubts, want) {
		t.Errorf("got %+v, want %+v", got.Doubts, want)
	}
}

func TestASuccessWithoutItsBodyKeepsItsEndIfARuleLooksAtTheBody(t *testing.T) {
	c := recorded(parse(t, standard), "a", 200)
	c.Attempts[0].Looked = "" // nothing is kept of a success
	r := New(parse(t, standard+"rules: [{id: busy, match: {where: {$.n: present}}, job: drop}]"))
	r.Add(c)
	if got := r.Report(); got.Unjudgeable != 1 || got.Uncertain != 0 || len(got.Ends) != 0 {
		t.Errorf("got %+v", got)
	}
	r = New(parse(t, standard+"rules: [{id: all, match: {http: [200]}, job: drop}]"))
	r.Add(c)
	if got := r.Report(); got.Unjudgeable != 0 || len(got.Ends) != 1 {
		t.Errorf("got %+v", got)
	}
}

func TestACallWithoutAnAnswerKeepsItsEnd(t *testing.T) {
	r := New(parse(t, standard))
	r.Add(Call{Key: "a", End: End{State: "cancelled", Class: "cancelled"}})
	if got := r.Report(); got.NotJudged != 1 || len(got.Ends) != 0 {
		t.Errorf("got %+v", got)
	}
}
