// Package admin is the operator's door: health, a status page, and asynq's own
// dashboard. It may change; it is not part of the stable API.
//
//	GET /healthz     the process is alive
//	GET /readyz      Redis answers, and its clock and this machine's agree
//	GET /            the books of the batches, the circuits
//	    /asynqmon/   asynq's dashboard
//
// Who may enter: where tokens are configured, every route but the first two asks for
// one of them. Without tokens it must stand on a loopback address, where everybody on
// this machine may enter, and nobody from a page of another site (the Host header and
// the origin are checked).
//
// It reads the ledger and the circuits. It knows nothing of upstreams but their
// names, and makes no call.
package admin
