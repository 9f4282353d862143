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
// Jobs are calls that Go code makes, for example with an SDK. [Handle] registers the code.
// The same policy decides on its results, and the same circuits and limits apply.
//
// [Middleware] wraps the making of each attempt, as in net/http: for measurements, for values
// in the context of a job's code, or to refuse a call before it is sent. A request is sent at
// most once, and its answer counts, whatever the middleware does.
//
// [Config.TracerProvider] receives OpenTelemetry spans. A trace goes from the producer
// ([tasks.ProducerConfig]) through each attempt to the API, with retries and parks as events.
//
// The steps of one call:
//
//	dequeue   refuse if the account is held or a limit is used up; take the call with its slot
//	open      end the call if its deadline is over, it had too many starts, or may have been sent
//	slot      wait until the slot begins, half a second at most
//	circuit   ask for the probe after a hold, the endpoint's circuit, the process's breaker
//	mark      ask again if the call has waited; mark a call that must not be sent twice
//	send      one attempt, one request; a second request only after a token was renewed
//	decide    by the policy, a pure function
//	record    the circuit first, so that the fleet stops; then the ledger; then asynq
//
// Only the file asynq.go deals with how asynq handles a task.
package worker
