package api

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/admin/problem"
)

// bearer is the name of the security scheme.
const bearer = "bearer"

const description = `Enqueue API calls, follow batches, and change dead letters and circuits.

Each answer to an error is a problem document (RFC 9457). Its detail says what is wrong and what to do.
Names in paths are percent-encoded: a / is written as %2F.`

const bearerDescription = `A token of admin.tokens in callq.yaml, with a role: viewer reads, producer also enqueues, operator does
everything. If no tokens are configured, only this machine can reach the address, and no token is needed.`

// describe completes the description of an operation: its role, and the answers that every
// operation can give.
func (a *API) describe(role access.Role, op *huma.Operation) {
	op.Security = []map[string][]string{{bearer: {string(role)}}}
	op.Description += "\n\nIt needs the role " + string(role) + "."
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	always := []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable}
	for _, status := range append(always, op.Errors...) {
		if op.Responses[strconv.Itoa(status)] == nil {
			op.Responses[strconv.Itoa(status)] = a.problemResponse(status)
		}
	}
	op.Errors = nil // huma would describe them in its own form
}

// problemResponse describes an answer that is a problem.
func (a *API) problemResponse(status int) *huma.Response {
	r := &huma.Response{Description: problemTexts[status], Content: map[string]*huma.MediaType{problem.ContentType: {Schema: a.schemaOf(problem.Problem{})}}}
	if r.Description == "" {
		r.Description = http.StatusText(status)
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		r.Headers = map[string]*huma.Param{"Retry-After": {Description: "In how many seconds to try again.", Schema: &huma.Schema{Type: huma.TypeInteger}}}
	}
	return r
}

// problemTexts say when an answer has a status, where that is not clear.
var problemTexts = map[int]string{
	http.StatusUnauthorized:        "There is no right token.",
	http.StatusForbidden:           "The token's role does not allow this, or the request comes from a page of another site.",
	http.StatusUnprocessableEntity: "The request cannot be carried out as it is.",
	http.StatusTooManyRequests:     "Too many wrong tokens came from this address.",
	http.StatusServiceUnavailable:  "Redis does not answer, or too many streams are open.",
}

// schemaOf returns the schema of a type, as a reference to the components.
func (a *API) schemaOf(v any) *huma.Schema {
	return a.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeOf(v), true, "")
}
