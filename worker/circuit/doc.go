// Package circuit keeps a whole fleet from calling an account, or one endpoint
// of it, while that cannot succeed. This package is part of callq's inside and
// may change.
//
// The record of a circuit is in Redis and is the fleet's: state, epoch, until
// when, on which rung of the ladder, why. Time is Redis's own. Each process has
// a gobreaker beside it, which detects outages over a rolling window and keeps
// the process's calls back while the record says so.
//
//	           own error (after N in a row)
//	closed ---------------------------------> open, until T
//	  ^                                        |      ^
//	  | probe: any other answer                | T    | probe: own error: next rung
//	  | operator: close                        v      |        transient fault: same rung
//	  +--------------------------------- one probe ---+
//
// The probe is chosen by the worker: one call's own fault must not
// hold its account. lua/refusals.lua keeps who was refused, and tells a call's own
// fault from the account's. An outage is held where it is: each process counts,
// endpoint by endpoint, how its calls go, and where one endpoint fails while others
// succeed, the endpoint's circuit opens.
//
// Half-open is no state of its own: after T the record gives a lease, the probe,
// to the first call that asks. A probe that is lost with its worker ends with
// its lease; the next call that asks becomes the probe.
//
// The dequeue script refuses a held account's queues, so that waiting costs
// nothing. On a Cluster the queues NAME:high and NAME:low live on other nodes,
// and it reads a copy of the record beside them: the record of {NAME} decides,
// copies follow.
//
// Every change is announced on a channel; it is read every second besides. A
// process remembers the newest record that it saw of every account, and writes it
// back where Redis has lost it, as in a fail-over.
//
// An account that is held by a limit or a budget (package limit) is not open: no
// probe is needed. Its record only says until when, for people and so that the
// dequeue script need not count again.
package circuit
