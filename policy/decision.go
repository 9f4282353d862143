package policy

import (
	"strings"
	"time"
)

// Class is the kind of an outcome. The set is closed; logs, metrics and records
// share it.
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

// Action says what happens to the call.
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
	// Hold names the policy's hold that says how long the circuit stays open, for
	// EffectOpen.
	Hold string
	// After is how many such answers in a row open the circuit; 1 opens it at once.
	After int
	// MaxProbes is the number of failed probes in a row from which calls are
	// dead-lettered unsent; 0 means never.
	MaxProbes int
	// Success reports that the server answered and the account works. Such an
	// answer closes a half-open circuit and resets its counts.
	Success bool
}

// Decision is what a policy decides for one attempt.
type Decision struct {
	// Rule is the id of the rule that matched.
	Rule string
	// Class is the kind of outcome.
	Class Class
	// Action is what happens to the call. If it was to be retried but its budget is
	// used up, Action is ActionDeadLetter and Exhausted is set.
	Action Action
	// Exhausted reports that attempts or max_age turned a retry into a dead letter.
	// max_age also does so if the server asked for a longer wait than is left of it.
	Exhausted bool
	// LeastWait is the least that a retry waits, by the sources of its backoff. It
	// counts from [Outcome.ReceivedAt].
	LeastWait time.Duration
	// Refresh asks for a fresh credential and a replay before the rest of the
	// decision is carried out. It is set only if [Attempt.CanRefresh] is.
	Refresh bool
	// FreshKey asks that the call's next attempt is sent under a new idempotency key: the
	// API keeps its failure under the present one.
	FreshKey bool
	// Backoff names the policy's backoff, for ActionRetry.
	Backoff string
	// Circuit is the effect on the circuit.
	Circuit Circuit
	// Message is for end users and has no raw codes. It may contain the placeholder
	// {resumes_at}, see [Decision.UserMessage].
	Message string
	// Advice is for the operator.
	Advice string
}

// resumesAt is the placeholder in a message for the time when calls resume.
const resumesAt = "{resumes_at}"

// later replaces the placeholder, and the preposition before it, where the time is
// not known.
var later = strings.NewReplacer(
	"at "+resumesAt, "later",
	"after "+resumesAt, "later",
	"from "+resumesAt+" on", "later",
	resumesAt, "later",
)

// UserMessage returns Message with {resumes_at} replaced by the time when calls
// resume, in UTC, rounded up to the second. For the zero time it says "later".
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
