package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
)

// retryAfterRedis is in how many seconds a client is to try again if Redis does not answer.
const retryAfterRedis = "5"

// problemOf returns the problem for an error. what is what the request was for.
func (a *API) problemOf(what string, err error) error {
	var ready *problem.Problem
	var status huma.StatusError
	switch {
	case errors.As(err, &ready), errors.As(err, &status):
		return err
	case errors.Is(err, tasks.ErrNoBatch):
		return problem.New(http.StatusNotFound, "there is no such batch, or its retention is over; GET /v1/batches lists the batches")
	case errors.Is(err, tasks.ErrNoCall):
		return problem.New(http.StatusNotFound, "there is no call with this id, or its retention is over; the id is in the answer of POST /v1/calls and in each result")
	}
	return huma.ErrorWithHeaders(a.redisProblem(what, err), http.Header{"Retry-After": {retryAfterRedis}})
}

// redisProblem returns the problem for an error of Redis. The error itself is for the log
// only.
func (a *API) redisProblem(what string, err error) *problem.Problem {
	if !errors.Is(err, context.Canceled) {
		a.log.Warn("the HTTP API cannot answer", "request", what, "error", redisinfo.Explain(err, redisinfo.Describe(a.cfg.Redis)))
	}
	detail := "Redis does not answer; try again in a few seconds"
	var explained *redisinfo.Error
	if errors.As(redisinfo.Explain(err, ""), &explained) {
		switch explained.Kind {
		case redisinfo.KindMemory:
			detail = "Redis has no memory left; export and delete batches, or give Redis more memory, and try again"
		case redisinfo.KindDisk:
			detail = "Redis cannot write to its disk; make room there and try again"
		case redisinfo.KindReplica:
			detail = "Redis has no master at the moment; try again in a few seconds"
		case redisinfo.KindLoading:
			detail = "Redis is starting; try again in a few seconds"
		}
	}
	return problem.New(http.StatusServiceUnavailable, detail)
}

// plainProblem turns huma's own errors, about the request's form, into problems.
func plainProblem(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	var parts []string
	for _, e := range m.Errors {
		// The value is not repeated: it may be a secret.
		parts = append(parts, strings.TrimPrefix(fmt.Sprintf("%s: %s", e.Location, e.Message), ": "))
	}
	detail := m.Detail
	if len(parts) > 0 {
		detail = strings.Join(parts, "; ")
	}
	return problem.New(m.Status, detail+". GET /v1/openapi.json describes the request"), nil
}
