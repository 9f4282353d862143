// Package policy decides what one answer of an API means for a call and for
// the whole account: whether the call succeeds, is retried, parked,
// dead-lettered or dropped, and whether the circuit opens.
//
// The package is pure: it opens no socket, reads no clock and has no source of
// randomness. It depends neither on queues nor on HTTP clients. The caller
// describes an attempt as an [Outcome] and an [Attempt], calls [Policy.Decide],
// and carries out the [Decision].
//
//	p, err := policy.Preset("patsnap")
//	if err != nil {
//		return err
//	}
//	d := p.Decide(
//		policy.Outcome{Status: 200, Flag: policy.FlagFalse, Code: "68300008"},
//		policy.Attempt{Method: "GET", Endpoint: "GET /search", Idempotent: true, N: 1},
//	)
//	// d.Action == policy.ActionRetry, d.Class == policy.ClassTransient, d.Backoff == "standard"
//
// A policy is a list of rules in YAML. The first rule that matches decides. The
// last rule of every policy matches anything, so there is always a decision.
package policy
