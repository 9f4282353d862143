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
// Half-open is no state of its own: after T the record gives a lease, the probe,
// to the first call that asks. A probe that is lost with its worker ends with
// its lease; the next call that asks becomes the probe.
//
// The dequeue script refuses a held account's queues, so that waiting costs
// nothing. It reads the record beside its own queue: for the queues NAME:high
// and NAME:low, which can live on other nodes of a Cluster, that is a copy. The
// record of {NAME} decides; copies follow.
package circuit
