// Package circuit stops a whole fleet from calling an account, or one endpoint of it,
// while such calls cannot succeed. It may change in any version.
//
// The record of a circuit is in Redis, for the whole fleet: its state, its epoch, until
// when and why it is open, and the rung of the ladder. All times are by Redis's clock.
// Each process also has a gobreaker, which detects outages over a rolling window and
// holds the process's calls while the record says so.
//
//	           own error (after N in a row)
//	closed ---------------------------------> open, until T
//	  ^                                        |      ^
//	  | probe: any other answer                | T    | probe: own error: next rung
//	  | operator: close                        v      |        transient fault: same rung
//	  +--------------------------------- one probe ---+
//
// An own error is one that is about the account or the endpoint itself, such as a quota
// or a refused credential.
//
// The worker chooses the probe, so that one call's own fault does not hold its account.
// lua/refusals.lua records which calls were refused, and distinguishes a call's own fault
// from the account's. An outage opens the smallest circuit that it concerns: each process
// counts the results of its calls for each endpoint, and if one endpoint fails while
// others succeed, the endpoint's circuit opens.
//
// Half-open is not a separate state: after T the record gives a lease, the probe, to the
// first call that asks. If the probe's worker dies, the lease expires and the next call
// that asks becomes the probe.
//
// The dequeue script refuses the queues of a held account, so that waiting costs nothing.
// On a Cluster the queues NAME:high and NAME:low live on other nodes, and the script reads
// a copy of the record there: the record of {NAME} decides, and the copies are updated
// after it.
//
// Every change is announced on a channel; the records are also read every second. A
// process remembers the newest record that it has read of every account, and writes it
// back if Redis has lost it, as in a fail-over.
//
// An account that a limit or a budget holds (package limit) is not open: no probe is
// needed. Its record only says until when. People see that, and the dequeue script does
// not have to count again.
package circuit
