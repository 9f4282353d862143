package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// register adds all routes.
func (a *API) register() {
	add(a, access.Viewer, huma.Operation{
		OperationID: "get-batch", Method: http.MethodGet, Path: "/v1/batches/{name}", Tags: []string{"batches"},
		Summary:     "Read a batch",
		Description: "The counts of a batch, and why its open calls wait.",
		Errors:      []int{http.StatusNotFound},
	}, a.batch)
	add(a, access.Viewer, huma.Operation{
		OperationID: "get-document", Method: http.MethodGet, Path: "/v1/openapi.json", Tags: []string{"document"},
		Summary:     "Read this document",
		Description: "This document: OpenAPI 3.1. callq openapi prints it too.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The document.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}},
		}},
	}, a.openAPI)
}
