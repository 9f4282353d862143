package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/baseurl"
)

// raw registers a route whose requests huma does not read. handler returns an error
// before it has written anything.
func (a *API) raw(role access.Role, op huma.Operation, handler func(http.ResponseWriter, *http.Request) error) {
	a.describe(role, &op)
	a.huma.OpenAPI().AddOperation(&op)
	a.routes.role = role
	a.routes.HandleFunc(op.Method+" "+op.Path, func(w http.ResponseWriter, r *http.Request) {
		if err := unknownParameter(r, op.Parameters); err != nil {
			a.writeProblem(w, op.Summary, err)
		} else if err := handler(w, r); err != nil {
			a.writeProblem(w, op.Summary, err)
		}
	})
}

// writeProblem answers with the problem for an error.
func (a *API) writeProblem(w http.ResponseWriter, what string, err error) {
	err = a.problemOf(what, err)
	var headers huma.HeadersError
	if errors.As(err, &headers) {
		for name, values := range headers.GetHeaders() {
			w.Header()[name] = values
		}
	}
	var status huma.StatusError
	if errors.As(err, &status) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // a test's recorder has none
		problem.Write(w, status)
	}
}

// unknownParameter refuses a misspelt query parameter.
func unknownParameter(r *http.Request, known []*huma.Param) error {
	for name := range r.URL.Query() {
		if !slices.ContainsFunc(known, func(p *huma.Param) bool { return p.In == "query" && p.Name == name }) {
			return problem.New(http.StatusUnprocessableEntity, fmt.Sprintf("there is no query parameter %q. GET /v1/openapi.json describes the request", name))
		}
	}
	return nil
}

// checkType refuses a body of another media type than the known ones, the first of which is
// in the message. A body without a type is taken for the right one.
func checkType(r *http.Request, known ...string) error {
	if coding := r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return problem.New(http.StatusUnsupportedMediaType, fmt.Sprintf("a body with the Content-Encoding %q cannot be read; send it uncompressed", coding))
	}
	given := r.Header.Get("Content-Type")
	if given == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(given)
	if err == nil && slices.Contains(known, media) {
		return nil
	}
	return problem.New(http.StatusUnsupportedMediaType, fmt.Sprintf("a body of the type %q cannot be read; send the header Content-Type: %s", given, known[0]))
}

// Patient is a part of the requests whose bodies huma reads. The time for reading the body
// must not end the request afterwards.
type Patient struct{}

// Resolve implements [huma.Resolver]. It is called when the body was read.
func (Patient) Resolve(ctx huma.Context) []error {
	_ = ctx.SetReadDeadline(time.Time{}) // a test's recorder has none
	return nil
}

// readBody reads a body of at most limit bytes.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	var large *http.MaxBytesError
	body := &bodyError{err}
	switch {
	case err == nil:
		return data, nil
	case errors.As(err, &large):
		return nil, problem.New(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body has more than %d bytes, the most for this request; send a smaller one", limit))
	case body.hangs():
		return nil, problem.New(http.StatusRequestTimeout, "the body did not come in time; send it again")
	}
	return nil, problem.New(http.StatusBadRequest, "the body broke off; send it again")
}

// fieldProblem returns the problem for a call that is not right.
func fieldProblem(e *tasks.FieldError) *problem.Problem {
	bare := *e
	bare.Line = 0
	status := http.StatusUnprocessableEntity
	text := bare.Error()
	if e.Field == "" { // the body is no call at all
		status = http.StatusBadRequest
		text = "the body " + text
	}
	return problem.New(status, text)
}

// checkAPI refuses to add calls to a batch that was made with another base URL. only are
// the upstreams of the calls, nil for all.
func (a *API) checkAPI(ctx context.Context, batch string, only map[string]bool) error {
	b, err := a.cfg.Ledger.Batch(ctx, batch)
	if errors.Is(err, tasks.ErrNoBatch) {
		return nil
	}
	if err == nil {
		_, err = a.cfg.BaseURLs.CheckBatch(ctx, a.cfg.Ledger, b, only, false)
	}
	var changed *baseurl.ChangedError
	if errors.As(err, &changed) {
		return problem.New(http.StatusConflict, changed.Error()+"; send the calls as another batch, or with callq send --same-api if it is the same API")
	}
	return err
}

// writeJSON answers with a JSON document.
func writeJSON(w http.ResponseWriter, status int, v any) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)) // a test's recorder has none
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(v) // an error means that the client has gone
}
