package main

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/policy/replay"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/records"
	"github.com/seed-2903acc3/callq/worker"
)

const wordPolicy = "extends: http\nread: {code: [$.code]}\nrules: [{id: limit, match: {code: [LIMIT]}, job: park}, {id: page, match: {body: [html]}, job: drop}]"

// madeCall is a call of the ledger, as a worker with a policy records its attempts.
type madeCall struct {
	t      *testing.T
	policy *policy.Policy
	call   tasks.Call
	record ledger.Record
}

func newMadeCall(t *testing.T, text string, call tasks.Call) *madeCall {
	t.Helper()
	p, err := policy.Parse("then.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	call.Upstream, call.Key = "api", "a"
	content, err := records.Content(call)
	if err != nil {
		t.Fatal(err)
	}
	return &madeCall{t: t, policy: p, call: call, record: ledger.Record{
		Queue: "api", Key: "a", Content: content, Ending: &ledger.Ending{FinishedAt: time.Now()}, FirstAt: time.Now(),
	}}
}

// answered adds an attempt, and the end that follows from its decision.
func (m *madeCall) answered(r policy.Response, about policy.Attempt, change func(*ledger.Attempt)) *madeCall {
	m.t.Helper()
	about.Method, about.Endpoint, about.N = m.call.Method, m.call.Method+" "+m.call.Path, m.record.Attempts+1
	o := m.policy.ReadAnswer(r)
	d := m.policy.Decide(o, about)
	a := ledger.Attempt{
		At: time.Now(), N: about.N, Action: string(d.Action), Class: string(d.Class), Rule: d.Rule,
		Status: o.Status, Code: o.Code, Transport: string(o.Transport), Message: o.Message,
	}
	if d.Action != policy.ActionSucceed {
		kept, err := json.Marshal(m.policy.Kept(o, about))
		if err != nil {
			m.t.Fatal(err)
		}
		a.Kept = kept
	}
	if change != nil {
		change(&a)
	}
	if a.Action != string(policy.ActionPark) {
		m.record.Attempts++
	}
	m.record.Log = append(m.record.Log, a)
	m.record.State = map[policy.Action]ledger.State{policy.ActionSucceed: ledger.Done, policy.ActionDrop: ledger.Dropped}[d.Action]
	if m.record.State == "" {
		m.record.State = ledger.Dead
	}
	m.record.Body, m.record.BodyType = r.Body, r.Header.Get("Content-Type")
	*m.record.Ending = ledger.Ending{Class: a.Class, Rule: a.Rule, HTTPStatus: o.Status, Code: o.Code, FinishedAt: time.Now(), Endpoint: about.Endpoint}
	return m
}

// replayed is what replay says of the call by another policy.
func (m *madeCall) replayed(text string) replay.Report {
	m.t.Helper()
	p, err := policy.Parse("now.yaml", []byte(text))
	if err != nil {
		m.t.Fatal(err)
	}
	r := &replaying{policy: p, replay: replay.New(p)}
	if err := r.describe([]worker.Upstream{{Name: "api"}}); err != nil {
		m.t.Fatal(err)
	}
	r.replay.Add(r.recorder.ofLedger(m.record))
	return r.replay.Report()
}

func (m *madeCall) isSame(what, text string) {
	m.t.Helper()
	if got := m.replayed(text); len(got.Ends)+len(got.Judged)+got.Uncertain+got.NotJudged+got.Unjudgeable > 0 {
		m.t.Errorf("%s: got %+v", what, got)
	}
}

func TestARecordedCallIsJudgedByItsPolicyAsItWas(t *testing.T) {
	get := tasks.Call{Method: "GET", Path: "/a"}
	safe := policy.Attempt{Idempotent: true}

	conditional := tasks.Call{Method: "GET", Path: "/a", Headers: map[string]string{"if-none-match": `"1"`}}
	newMadeCall(t, "extends: http", conditional).answered(policy.Response{Status: 304}, policy.Attempt{Idempotent: true, Conditional: true}, nil).
		isSame("nothing has changed since", "extends: http")

	limited := policy.Response{Status: 200, Body: []byte(`{"code": "LIMIT"}`)}
	convicted := newMadeCall(t, wordPolicy, get).answered(limited, safe, nil).answered(limited, safe, nil)
	convicted.record.Body = nil // a call that is given up has none
	convicted.isSame("refused by a code until it was given up", wordPolicy)

	page := policy.Response{Status: 200, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}}, Body: []byte("please wait")}
	newMadeCall(t, wordPolicy, get).answered(page, safe, nil).isSame("a page without a tag", wordPolicy)

	unreached := func(a *ledger.Attempt) {
		a.Decided, a.Action, a.Class = a.Action, string(policy.ActionPark), string(policy.ClassConfig)
	}
	wrong := newMadeCall(t, "extends: http\nbackoffs: {standard: {attempts: 2}}", get)
	for range 4 {
		wrong.answered(policy.Response{Transport: policy.TransportDial}, safe, unreached)
	}
	wrong.answered(policy.Response{Status: 200, Body: []byte("{}")}, safe, nil).
		isSame("an address that was wrong at first", "extends: http\nbackoffs: {standard: {attempts: 2}}")
}

func TestTheOtherPolicySaysWhichCallsMayBeSentTwice(t *testing.T) {
	search := tasks.Call{Method: "POST", Path: "/search/a"}
	gateway := policy.Response{Status: 504}
	m := newMadeCall(t, "extends: http", search).answered(gateway, policy.Attempt{}, nil)
	m.isSame("a search that may have been made", "extends: http")
	got := m.replayed("extends: http\nupstream: {idempotent: [\"POST /search/*\"]}")
	if got.Added != 1 || len(got.Ends) != 1 || got.Ends[0].After.Rule != "fault" {
		t.Errorf("got %+v", got)
	}
	// The call's own word counts more.
	no := false
	search.Idempotent = &no
	m = newMadeCall(t, "extends: http", search).answered(gateway, policy.Attempt{}, nil)
	m.isSame("a search of which its caller says that it must not be made twice", "extends: http\nupstream: {idempotent: [\"POST /search/*\"]}")
}
