package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

const (
	// linesType is the media type of lines of JSON.
	linesType = "application/x-ndjson"
	// maxLines is how many lines one request may have: each line without a key takes some
	// bytes of memory until its end.
	maxLines = 10_000_000
)

// Sent is what became of the lines of a batch.
type Sent struct {
	Batch     string `json:"batch" doc:"The name of the batch."`
	Accepted  int    `json:"accepted" doc:"How many calls were accepted."`
	Duplicate int    `json:"duplicate" doc:"How many were there already: the same key with the same content."`
	Refused   int    `json:"refused" doc:"How many lines were refused."`
	// Errors are the first 1,000 refused lines.
	Errors []jsonform.Refusal `json:"errors" nullable:"false" doc:"The first 1,000 refused lines, in order."`
}

// SentProblem is the problem of a batch of which no call, or not every line, could be
// accepted, with what became of its lines.
type SentProblem struct {
	problem.Problem
	Sent
}

// errTooMany reports that a request has too many lines.
var errTooMany = errors.New("too many lines")

// postBatch enqueues the calls of a batch while their lines arrive.
func (a *API) postBatch(w http.ResponseWriter, r *http.Request) error {
	name := r.URL.Query().Get("name")
	if name == "" {
		return problem.New(http.StatusUnprocessableEntity, "the name of the batch is missing; write POST /v1/batches?name=NAME")
	}
	var wrong *tasks.FieldError
	if err := tasks.CheckBatch(name); errors.As(err, &wrong) {
		return problem.New(http.StatusUnprocessableEntity, "name: "+wrong.Problem+"; "+wrong.Fix)
	}
	if err := checkType(r, linesType, "application/ndjson", "application/jsonl"); err != nil {
		return err
	}
	end, ok := begin(a.streams.uploads)
	if !ok {
		return huma.ErrorWithHeaders(full(), http.Header{"Retry-After": {retryAfterFull}})
	}
	defer end()
	checking, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	if err := a.checkAPI(checking, name, nil); err != nil {
		return err
	}
	lines := tasks.ReadCalls(&upload{r.Body, http.NewResponseController(w), a.streams}, tasks.ReadOptions{Rules: a.cfg.Rules})
	// Lines that have arrived are accepted although the client has gone.
	summary, err := a.cfg.Producer.SubmitLines(context.WithoutCancel(r.Context()), name, bounded(lines), nil)
	sent := sentOf(name, summary)
	attributes := []any{"who", access.Who(r.Context()), "batch", name, "accepted", sent.Accepted, "duplicate", sent.Duplicate, "refused", sent.Refused}
	if err != nil {
		a.log.Warn("a batch broke off", append(attributes, "error", err)...)
		return a.brokenOff(sent, err)
	}
	a.log.Info("a batch was enqueued", attributes...)
	if sent.Accepted+sent.Duplicate == 0 {
		detail := "no line was accepted; errors says why, by line"
		if sent.Refused == 0 {
			detail = `the body has no lines; send one JSON object a line, as in {"path":"/…"}`
		}
		return &SentProblem{*problem.New(http.StatusUnprocessableEntity, detail), sent}
	}
	w.Header().Set("Location", "/v1/batches/"+url.PathEscape(name))
	writeJSON(w, http.StatusAccepted, sent)
	return nil
}

// bounded ends a request with too many lines.
func bounded(lines iter.Seq2[tasks.Line, error]) iter.Seq2[tasks.Line, error] {
	return func(yield func(tasks.Line, error) bool) {
		for line, err := range lines {
			if line.Number > maxLines {
				yield(line, errTooMany)
				return
			}
			if !yield(line, err) {
				return
			}
		}
	}
}

// brokenOff returns the problem for a batch whose lines were not all read or accepted.
func (a *API) brokenOff(sent Sent, err error) error {
	const again = "; what was accepted stays. Send the same lines again, with the same name, for the rest: those that are there are duplicates"
	var body *bodyError
	switch {
	case errors.Is(err, errTooMany):
		return &SentProblem{*problem.New(http.StatusRequestEntityTooLarge,
			fmt.Sprintf("a request may have at most %d lines; what came before stays. Send the lines after that in another request, with the same name", maxLines)), sent}
	case errors.As(err, &body) && errors.Is(err, http.ErrServerClosed):
		return huma.ErrorWithHeaders(&SentProblem{*problem.New(http.StatusServiceUnavailable, "the server is stopping"+again), sent}, http.Header{"Retry-After": {retryAfterFull}})
	case errors.As(err, &body) && body.hangs():
		return &SentProblem{*problem.New(http.StatusRequestTimeout, fmt.Sprintf("nothing arrived for %s", a.streams.idle)+again), sent}
	case errors.As(err, &body):
		return &SentProblem{*problem.New(http.StatusBadRequest, "the body broke off"+again), sent}
	}
	p := a.redisProblem("Send a batch", err)
	p.Detail += again
	return huma.ErrorWithHeaders(&SentProblem{*p, sent}, http.Header{"Retry-After": {retryAfterRedis}})
}

func sentOf(batch string, s tasks.Summary) Sent {
	out := Sent{Batch: batch, Accepted: s.Accepted, Duplicate: s.Duplicate, Refused: s.Refused, Errors: []jsonform.Refusal{}}
	for _, e := range s.Errors {
		if e.Field == "batch" {
			e.Fix = "all lines belong to the batch of ?name=; leave the field out"
		}
		out.Errors = append(out.Errors, jsonform.RefusalOf(e))
	}
	slices.SortFunc(out.Errors, func(a, b jsonform.Refusal) int { return cmp.Compare(a.Line, b.Line) })
	return out
}
