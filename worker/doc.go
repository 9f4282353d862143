// Package worker makes the calls that wait in callq's queues. It reads each
// answer with the upstream's policy and carries the decision out: the call is
// done, retried, parked, dead or dropped, and the account's circuit is updated.
//
//	w, err := worker.New(worker.Config{
//		Redis: redis.NewClient(&redis.Options{Addr: "127.0.0.1:6379"}),
//		Upstreams: []worker.Upstream{{
//			Name:    "patsnap",
//			BaseURL: "https://connect.patsnap.com",
//			Policy:  patsnap, // policy.Preset("patsnap")
//			Auth:    worker.Bearer(worker.EnvSecret("PATSNAP_TOKEN")),
//		}},
//	})
//	if err != nil {
//		return err
//	}
//	return w.Run(ctx) // until ctx ends; then it drains
//
// Jobs are calls that Go code makes, with an SDK for example. [Handle] registers
// the code; it is judged by the same policy and stands behind the same circuit.
//
// One call's way:
//
//	dequeue   refuses what is held, used up or ended; takes the call with its slot
//	budget    deadline over, too many starts, or perhaps sent already: ended here
//	slot      waited for, half a second at most
//	circuit   the probe after a hold; the endpoint's circuit; the process's breaker
//	mark      who has waited asks again; a call that must not be sent twice is marked
//	send      one attempt, at most one request
//	decide    pure, by the policy
//	record    circuit first, so that the fleet stops; then the ledger; then asynq
//
// The file asynq.go is the only one that speaks asynq's verbs.
package worker
