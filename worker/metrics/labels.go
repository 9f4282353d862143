package metrics

import (
	"slices"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
)

// other is the value of a label for everything that has no value of its own.
const other = "other"

// ActionVerify is the action of a request that asks whether a call took effect.
const ActionVerify policy.Action = "verify"

// The closed sets of values.
var (
	classes = []string{
		string(policy.ClassOK), string(policy.ClassBadParameter), string(policy.ClassTransient), string(policy.ClassQuota),
		string(policy.ClassAuth), string(policy.ClassBalance), string(policy.ClassConfig), string(policy.ClassProtocol),
		string(policy.ClassUnknown), string(policy.ClassOutcomeUnknown), string(policy.ClassMalformedTask),
		string(policy.ClassCrashLoop), string(policy.ClassExpired), string(policy.ClassCancelled), other,
	}
	// failures are the classes of dead letters.
	failures = classes[1:]

	actions = []string{
		string(policy.ActionSucceed), string(policy.ActionRetry), string(policy.ActionPark), string(policy.ActionDeadLetter),
		string(policy.ActionDrop), string(ActionVerify), other,
	}
	states     = []string{string(ledger.Done), string(ledger.Dead), string(ledger.Dropped), string(ledger.Cancelled), other}
	reasons    = []string{"quota", "rate", "permission", "credential", "outage", "operator", "limit", "budget", other}
	priorities = []string{string(tasks.PriorityHigh), string(tasks.PriorityNormal), string(tasks.PriorityLow)}
	waits      = []string{"pending", "active", "retry", "scheduled"}
)

// fold returns value if it is one of known, else "other".
func fold(value string, known []string) string {
	if slices.Contains(known, value) {
		return value
	}
	return other
}
