package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/dunglas/httpsfv"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

const (
	// keyHeader is the header with the call's key.
	keyHeader = "Idempotency-Key"
	// maxSmallBody is the largest body of a call, in bytes, that does not count as a stream:
	// the whole body of a call is in memory.
	maxSmallBody = 1 << 20
)

// postCall enqueues one call.
func (a *API) postCall(w http.ResponseWriter, r *http.Request) error {
	if err := checkType(r, "application/json"); err != nil {
		return err
	}
	if r.ContentLength < 0 || r.ContentLength > maxSmallBody {
		end, ok := begin(a.streams.uploads)
		if !ok {
			return huma.ErrorWithHeaders(full(), http.Header{"Retry-After": {retryAfterFull}})
		}
		defer end()
	}
	body, err := readBody(w, r, a.cfg.Rules.MaxLine())
	if err != nil {
		return err
	}
	call, err := callOf(r, body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	// A call without a key is new and cannot have a result of another API.
	if call.Batch != "" || call.Key != "" {
		var only map[string]bool
		if call.Upstream != "" {
			only = map[string]bool{call.Upstream: true}
		}
		batch := call.Batch
		if batch == "" {
			batch = tasks.DefaultBatch
		}
		if err := a.checkAPI(ctx, batch, only); err != nil {
			return err
		}
	}
	receipt, err := a.cfg.Producer.Submit(ctx, call)
	var wrong *tasks.FieldError
	var conflict *tasks.ConflictError
	switch {
	case errors.As(err, &wrong):
		return fieldProblem(wrong)
	case errors.As(err, &conflict):
		return problem.New(http.StatusUnprocessableEntity, conflict.Error())
	case err != nil:
		return err
	}
	a.log.Info("a call was enqueued", "who", access.Who(r.Context()), "call", receipt.ID, "batch", receipt.Batch, "key", receipt.Key, "duplicate", receipt.Duplicate)
	w.Header().Set("Location", "/v1/calls/"+url.PathEscape(receipt.ID))
	writeJSON(w, http.StatusAccepted, jsonform.ReceiptOf(receipt))
	return nil
}

// callOf reads a call and gives it the key of the header, if it has none.
func callOf(r *http.Request, body []byte) (tasks.Call, error) {
	call, err := tasks.ParseCall(body)
	var wrong *tasks.FieldError
	if errors.As(err, &wrong) {
		return call, fieldProblem(wrong)
	}
	if err != nil {
		return call, err
	}
	switch given := r.Header.Values(keyHeader); {
	case len(given) > 1:
		return call, problem.New(http.StatusBadRequest, "the request has several headers "+keyHeader+"; send one")
	case len(given) == 1 && call.Key == "":
		if call.Key = keyOf(given[0]); call.Key == "" {
			return call, problem.New(http.StatusBadRequest, "the header "+keyHeader+" is empty; give it a value, or leave it out")
		}
	}
	return call, nil
}

// keyOf returns the key in a header: its text, or the text in the quotes of a structured
// field (RFC 9651), as the draft of the header has it.
func keyOf(header string) string {
	header = strings.TrimSpace(header)
	if item, err := httpsfv.UnmarshalItem([]string{header}); err == nil {
		if text, ok := item.Value.(string); ok {
			return text
		}
	}
	return header
}

// callID is the id of a call in a path.
type callID struct {
	ID string `path:"id" doc:"The id of the call: 32 hexadecimal digits." example:"0d7a8a7c1d0f4b8e9a5a0c2f6f5b1e3d"`
}

type callAnswer struct{ Body json.RawMessage }

// call returns a call with its attempts.
func (a *API) call(ctx context.Context, in *callID) (*callAnswer, error) {
	c, err := a.cfg.Client.Call(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	form, err := jsonform.Call(c)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", in.ID, err)
	}
	return &callAnswer{form}, nil
}
