package api

import (
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// register adds all routes.
func (a *API) register() {
	a.registerCalls()
	a.registerBatches()
	a.registerDead()
	a.registerCircuits()
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "get-document", Method: http.MethodGet, Path: "/v1/openapi.json", Tags: []string{"document"},
		Summary:     "Read this document",
		Description: "This document: OpenAPI 3.1. callq openapi prints it too.",
		Responses: map[string]*huma.Response{"200": {
			Description: "The document.",
			Content:     map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}}},
		}},
	}, a.openAPI)
	a.openSchemas()
}

func (a *API) registerCalls() {
	a.component("Call", callSchema())
	a.component("Result", resultSchema())
	a.raw(access.Producer, huma.Operation{
		OperationID: "post-call", Method: http.MethodPost, Path: "/v1/calls", Tags: []string{"calls"},
		Summary: "Send a call",
		Description: `Enqueue one call. A call without a key is a new one each time; with a key, sending it again is a duplicate and
no error, so that a request whose answer was lost can be repeated. The same key with other content is refused with 422.`,
		Parameters: []*huma.Param{{
			Name: keyHeader, In: "header", Schema: &huma.Schema{Type: huma.TypeString}, Example: "order-17",
			Description: "The key of the call, if the body has none.",
		}},
		RequestBody: &huma.RequestBody{Required: true, Description: "A call as in a file of calls; batch is optional.", Content: map[string]*huma.MediaType{
			"application/json": {Schema: ref("Call")},
		}},
		Responses: map[string]*huma.Response{"202": {
			Description: "The call is in its queue, or was there already.",
			Headers:     map[string]*huma.Param{"Location": {Description: "The path of the call.", Schema: &huma.Schema{Type: huma.TypeString}}},
			Content:     map[string]*huma.MediaType{"application/json": {Schema: a.schemaOf(receiptType)}},
		}},
		Errors: []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, a.postCall)
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "get-call", Method: http.MethodGet, Path: "/v1/calls/{id}", Tags: []string{"calls"},
		Summary: "Read a call",
		Description: `A call with its result, or what is known so far; log has its last 20 attempts, lineage how it ended before it was
redriven, call the call itself.`,
		Responses: answer("The call.", &huma.Schema{Ref: callInfoRef}),
		Errors:    []int{http.StatusNotFound},
	}, a.call)
	a.component("CallInfo", callInfoSchema())
}

func (a *API) registerBatches() {
	a.raw(access.Producer, huma.Operation{
		OperationID: "post-batch", Method: http.MethodPost, Path: "/v1/batches", Tags: []string{"batches"},
		Summary: "Send a batch",
		Description: `Enqueue calls, one JSON object a line. They are accepted while the lines arrive, some hundred at a time, in bounded
memory. A bad line does not stop the others. A line without a key is known by its content: equal lines are one call. If the request breaks off, what was
accepted stays, and GET /v1/batches/{name} says how much; send the same lines again with the same name for the rest.`,
		Parameters: []*huma.Param{{
			Name: "name", In: "query", Required: true, Description: "The name of the batch, 1 to 200 characters. The batch may exist.",
			Schema: &huma.Schema{Type: huma.TypeString}, Example: "patents-2026-05",
		}},
		RequestBody: &huma.RequestBody{Required: true, Description: "Calls, as in a file of calls: one Call a line.", Content: map[string]*huma.MediaType{
			linesType: {Schema: &huma.Schema{Type: huma.TypeString}, Extensions: lineOf("Call")},
		}},
		Responses: map[string]*huma.Response{
			"202": {
				Description: "At least one call is in its queue, or was there already.",
				Headers:     map[string]*huma.Param{"Location": {Description: "The path of the batch.", Schema: &huma.Schema{Type: huma.TypeString}}},
				Content:     map[string]*huma.MediaType{"application/json": {Schema: a.schemaOf(Sent{})}},
			},
			"400": a.sentProblem("The body broke off. What was accepted stays."),
			"408": a.sentProblem("Nothing arrived for a minute. What was accepted stays."),
			"413": a.sentProblem("There are too many lines. What was accepted stays."),
			"422": a.sentProblem("No line was accepted, or the name is wrong."),
			"503": a.sentProblem("Redis does not answer, or too many streams are open. What was accepted stays."),
		},
		Errors: []int{http.StatusConflict, http.StatusUnsupportedMediaType},
	}, a.postBatch)
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "list-batches", Method: http.MethodGet, Path: "/v1/batches", Tags: []string{"batches"},
		Summary:     "List batches",
		Description: "The batches with their counts, the newest first. The Link header has the address of the following ones.",
	}, a.batches)
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "get-batch", Method: http.MethodGet, Path: "/v1/batches/{name}", Tags: []string{"batches"},
		Summary:     "Read a batch",
		Description: "The counts of a batch, and why its open calls wait.",
		Errors:      []int{http.StatusNotFound},
	}, a.batch)
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "get-results", Method: http.MethodGet, Path: "/v1/batches/{name}/results", Tags: []string{"batches"},
		Summary: "Read the results of a batch",
		Description: `The results of the calls that have ended so far, one a line, in the order in which they ended: the lines of a results
file, each with a field cursor behind the others. To continue, after a connection that broke off or to get the results that
followed, send the cursor of the last whole line as Last-Event-ID or after. A call that was redriven and has ended again comes
again. A body that ends without its last chunk is not complete.`,
		Responses: lines("The results, one Result a line.", linesType, "Result"),
		Errors:    []int{http.StatusNotFound},
	}, a.results)
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "get-events", Method: http.MethodGet, Path: "/v1/batches/{name}/events", Tags: []string{"batches"},
		Summary: "Follow a batch",
		Description: `Server-sent events until no call of the batch is open. progress has the counts (Batch), at most once a second; ending has
the result of a call that has ended, without its body; end has the last counts, and the stream ends. The id of an event is the
cursor to continue with, as Last-Event-ID or after; without one, the stream begins with the first call that ended. A comment
comes every 15 seconds.`,
		Responses: withNoContent(lines("The events.", eventsType, "")),
		Errors:    []int{http.StatusNotFound},
	}, a.events)
}

func (a *API) registerDead() {
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "list-dead-groups", Method: http.MethodGet, Path: "/v1/dead/groups", Tags: []string{"dead letters"},
		Summary:     "List the groups of dead letters",
		Description: "Dead letters by their cause, the largest group first.",
	}, a.deadGroups)
	a.component("DeadLetter", deadLetterSchema())
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "list-dead", Method: http.MethodGet, Path: "/v1/dead", Tags: []string{"dead letters"},
		Summary: "List dead letters",
		Description: `Calls that failed for good and wait for a person: their results without the bodies, by queue, the oldest first. With
several filters all must match. The Link header has the address of the following ones; a page can have fewer than limit, or
none, although others follow.`,
		Responses: answer("Dead letters.", &huma.Schema{Type: huma.TypeArray, Items: ref("DeadLetter")}),
	}, a.dead)
	add(a, access.Operator, redriveTimeout+requestTimeout, huma.Operation{
		OperationID: "redrive", Method: http.MethodPost, Path: "/v1/dead/redrive", Tags: []string{"dead letters"},
		Summary: "Redrive dead letters",
		Description: `Open dead letters again, with a fresh budget of attempts, by ids, by group, by filter, or all of them. The answer comes
when all were redriven, or after 50 seconds: then more is true, and the same request, with before, continues. With dry_run
nothing is changed, and the answer is what would be redriven. If the request is broken off, the rest is not redriven.`,
		Responses: answer("What was redriven, or would be.", &huma.Schema{OneOf: []*huma.Schema{a.schemaOf(Redriven{}), a.schemaOf(RedrivePlan{})}}),
		Errors:    []int{http.StatusBadRequest, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType},
	}, a.redrive)
}

func (a *API) registerCircuits() {
	add(a, access.Viewer, requestTimeout, huma.Operation{
		OperationID: "list-circuits", Method: http.MethodGet, Path: "/v1/circuits", Tags: []string{"circuits"},
		Summary:     "List circuits",
		Description: "The circuits of all accounts, and of endpoints that were held before.",
	}, a.circuits)
	errors := []int{http.StatusBadRequest, http.StatusNotFound, http.StatusRequestTimeout, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType}
	add(a, access.Operator, requestTimeout, huma.Operation{
		OperationID: "open-circuit", Method: http.MethodPost, Path: "/v1/circuits/{name}/open", Tags: []string{"circuits"},
		Summary:     "Open a circuit",
		Description: "Hold an account, or one endpoint: none of its calls starts until the time is over. Then one call, the probe, is made.",
		Errors:      errors,
	}, a.openCircuit)
	add(a, access.Operator, requestTimeout, huma.Operation{
		OperationID: "close-circuit", Method: http.MethodPost, Path: "/v1/circuits/{name}/close", Tags: []string{"circuits"},
		Summary:     "Close a circuit",
		Description: "The calls of an account, or of one endpoint, start again at once.",
		Errors:      errors,
	}, a.closeCircuit)
	a.routes.role = access.Operator
	a.routes.HandleFunc("POST /v1/circuits/{rest...}", a.anyCircuit)
}
