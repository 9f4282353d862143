package worker

import (
	"cmp"
	"encoding/json"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ending"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

const (
	// maxLogMessage is the most bytes of the API's message in the record of one attempt.
	maxLogMessage = 200
	// maxLogEntry is the most bytes that the record of one attempt takes.
	maxLogEntry = 2 << 10
)

// entryOf returns the attempt's line in the call's record. d is what is done, which may
// differ from what the policy decided.
func (inflight *inflightCall) entryOf(a attempted, d policy.Decision, c circuitEffect) *ledger.Attempt {
	entry := lineOf(a, cmp.Or(a.overruled, a.decision.Action), d)
	overrule(entry, d.Action)
	if c.open {
		entry.Held, entry.HeldEndpoint = c.wait.Milliseconds(), d.Circuit.Scope == policy.ScopeEndpoint
	}
	if a.decision.Action == policy.ActionSucceed {
		if kept := policy.KeptOfSuccess(inflight.account.policy, a.Outcome, a.judged); kept != nil {
			keep(entry, *kept)
		}
		return entry
	}
	entry.Message = ending.Clip(messageOf(a), maxLogMessage)
	keep(entry, inflight.account.policy.Kept(a.Outcome, a.judged))
	return entry
}

// lineOf returns an attempt's line without what a policy could look at.
func lineOf(a attempted, action policy.Action, d policy.Decision) *ledger.Attempt {
	return &ledger.Attempt{
		At: a.StartedAt.UTC(), N: a.number, Action: string(action), Class: string(d.Class), Rule: d.Rule,
		Status: statusOf(a), Code: codeOf(a.Outcome), Transport: string(a.Outcome.Transport),
		CorrelationID: a.Outcome.CorrelationID, Latency: a.Latency.Milliseconds(), More: a.Requests - 1, Amount: a.Kept.Amount,
	}
}

// keep writes what the policy could look at into the line, or less if that is too long.
func keep(entry *ledger.Attempt, kept policy.Kept) {
	// What the line has already is not written twice.
	if kept.Status == entry.Status {
		kept.Status = 0
	}
	if kept.Code == entry.Code {
		kept.Code = ""
	}
	if kept.Message == entry.Message {
		kept.Message = ""
	}
	for _, shorten := range []func(){
		func() {},
		func() { kept.Header, kept.Found, kept.Message, kept.Partial = nil, nil, "", true },
		// Texts of which each byte takes six in JSON.
		func() { entry.Message = "" },
		func() { kept.Looked = "" },
	} {
		shorten()
		entry.Kept, _ = json.Marshal(kept) // it has only texts and numbers
		if !tooLong(entry) {
			return
		}
	}
}

func tooLong(entry *ledger.Attempt) bool {
	line, err := json.Marshal(entry)
	return err != nil || len(line) > maxLogEntry
}

// overrule sets what is done after an attempt, which may differ from what the policy decided.
func overrule(entry *ledger.Attempt, action policy.Action) {
	if string(action) == entry.Action {
		return
	}
	entry.Decided, entry.Action = cmp.Or(entry.Decided, entry.Action), string(action)
}
