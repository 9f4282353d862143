package worker

import (
	"net/http"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/upstream"
)

// Preview returns the request that a worker sends first for a valid call, with stars in
// place of the credential. It needs no Redis, reads no secret and sends nothing. It returns
// the errors for which the worker would not send the call.
func Preview(u Upstream, c tasks.Call) (*http.Request, error) {
	r, err := requestOf(c, tasks.TaskID(c.Batch, c.Key))
	if err != nil {
		return nil, err
	}
	return upstream.Preview(clientConfig(u), r)
}

// clientConfig returns the configuration of an upstream's client, without what depends on the worker.
func clientConfig(u Upstream) upstream.Config {
	return upstream.Config{
		Name: u.Name, BaseURL: u.BaseURL, Auth: u.Auth, Timeout: u.Timeout, Concurrency: u.Concurrency,
		IdempotencyHeader: u.IdempotencyHeader, MaxBody: u.MaxBody, CostHeader: u.CostHeader, TLS: u.TLS,
		Headers: u.Headers, Query: u.Query, KeepHeaders: u.KeepHeaders, Policy: u.Policy,
	}
}
