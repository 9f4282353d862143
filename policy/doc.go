// Package policy decides what one answer of an API means for a call and for
// the whole account: succeed, retry, park, dead-letter or drop, and, apart
// from that, whether the circuit is to open.
//
// The package is pure. Values go in, values come out; it opens no socket, reads
// no clock and no source of chance of its own. It knows neither queues nor HTTP
// clients: who made the attempt describes it as an [Outcome] and an [Attempt],
// asks [Policy.Decide], and carries the [Decision] out.
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
// A policy is a list of rules in YAML. The first rule that matches wins, and
// the last rule of every policy matches anything, so that Decide is total.
package policy
