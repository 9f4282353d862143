package policy

import (
	"strings"
	"time"
)

// Class says what kind of outcome it was. The set is closed; logs, metrics and
// records share it.
type Class string

// The classes.
const (
	ClassOK             Class = "ok"
	ClassBadParameter   Class = "bad_parameter"
	ClassTransient      Class = "transient"
	ClassQuota          Class = "quota"
	ClassAuth           Class = "auth"
	ClassBalance        Class = "balance"
	ClassConfig         Class = "config"
	ClassProtocol       Class = "protocol"
	ClassUnknown        Class = "unknown"
	ClassOutcomeUnknown Class = "outcome_unknown"
	ClassMalformedTask  Class = "malformed_task"
	ClassCrashLoop      Class = "crash_loop"
	ClassExpired        Class = "expired"
	ClassCancelled      Class = "cancelled"
)

// Action says what becomes of the call.
type Action string

// The actions.
const (
	ActionSucceed    Action = "succeed"
	ActionRetry      Action = "retry"
	ActionPark       Action = "park"
	ActionDeadLetter Action = "dead_letter"
	ActionDrop       Action = "drop"
)

// Effect says what an outcome does to a circuit.
type Effect string

// The effects. None is also the effect of an answer that proves the account
// healthy: whether an outcome counts as a success is [Circuit.Success].
const (
	EffectNone  Effect = "none"
	EffectCount Effect = "count"
	EffectOpen  Effect = "open"
)

// Scope says which circuit an effect is for.
type Scope string

// The scopes.
const (
	ScopeAccount  Scope = "account"
	ScopeEndpoint Scope = "endpoint"
)

// Circuit is the circuit effect of a decision.
type Circuit struct {
	Effect Effect
	Scope  Scope
	// Hold names the policy's hold that tells until when, for EffectOpen.
	Hold string
	// After is how many such answers in a row open the circuit; 1 opens at once.
	After int
	// MaxProbes is the number of failed probes in a row from which calls are
	// dead-lettered unsent; 0 means never.
	MaxProbes int
	// Success tells that the server answered and the account works: it closes
	// a half-open circuit and resets its counts.
	Success bool
}

// Decision is what a policy answers for one attempt.
type Decision struct {
	// Rule is the id of the rule that matched.
	Rule string
	// Class is the kind of outcome.
	Class Class
	// Action is what becomes of the call. Where a retry was due but the budget is
	// used up, it is ActionDeadLetter and Exhausted is set.
	Action Action
	// Exhausted tells that attempts or max_age ended what would have been a retry:
	// max_age also where the server asked for a longer wait than is left of it.
	Exhausted bool
	// LeastWait is the least that a retry waits, by the sources of its backoff. It
	// counts from [Outcome.ReceivedAt].
	LeastWait time.Duration
	// Refresh asks for a fresh credential and a replay, before the rest of the
	// decision is carried out. It is only set when [Attempt.CanRefresh] was.
	Refresh bool
	// Backoff names the policy's backoff, for ActionRetry.
	Backoff string
	// Circuit is the effect on the circuit.
	Circuit Circuit
	// Message is for end users: no raw codes. It may hold the placeholder
	// {resumes_at}, see [Decision.UserMessage].
	Message string
	// Advice is for the operator.
	Advice string
}

// resumesAt is the placeholder in a message for when work goes on.
const resumesAt = "{resumes_at}"

// later takes the words that lead up to a time with it, where there is no time.
var later = strings.NewReplacer(
	"at "+resumesAt, "later",
	"after "+resumesAt, "later",
	"from "+resumesAt+" on", "later",
	resumesAt, "later",
)

// UserMessage is Message with {resumes_at} filled in: the time when work goes
// on, in UTC, rounded up to the second. With the zero time it reads "later".
func (d Decision) UserMessage(resumes time.Time) string {
	if !strings.Contains(d.Message, resumesAt) {
		return d.Message
	}
	if resumes.IsZero() {
		return later.Replace(d.Message)
	}
	if whole := resumes.Truncate(time.Second); whole.Before(resumes) {
		resumes = whole.Add(time.Second)
	}
	return strings.ReplaceAll(d.Message, resumesAt, resumes.UTC().Format("2006-01-02 15:04:05 UTC"))
}
