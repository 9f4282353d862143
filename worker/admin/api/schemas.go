package api

import (
	"maps"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/seed-2903acc3/callq/worker/admin/problem"
	"github.com/seed-2903acc3/callq/worker/jsonform"
)

const (
	componentRoot = "#/components/schemas/"
	callInfoRef   = componentRoot + "CallInfo"
)

// receiptType is the answer for one call.
var receiptType = jsonform.Receipt{}

// component adds a schema that is written by hand.
func (a *API) component(name string, s *huma.Schema) {
	a.huma.OpenAPI().Components.Schemas.Map()[name] = s
}

func ref(name string) *huma.Schema { return &huma.Schema{Ref: componentRoot + name} }

// lineOf says in the document what each line of a body is: OpenAPI 3.1 has no word for it,
// and OpenAPI 3.2 calls it itemSchema.
func lineOf(name string) map[string]any {
	if name == "" {
		return nil
	}
	return map[string]any{"x-itemSchema": map[string]any{"$ref": componentRoot + name}}
}

// answer describes the answer 200 with a JSON body.
func answer(text string, s *huma.Schema) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: text, Content: map[string]*huma.MediaType{"application/json": {Schema: s}}}}
}

// lines describes the answer 200 that is a stream.
func lines(text, contentType, item string) map[string]*huma.Response {
	return map[string]*huma.Response{"200": {Description: text, Content: map[string]*huma.MediaType{
		contentType: {Schema: &huma.Schema{Type: huma.TypeString}, Extensions: lineOf(item)},
	}}}
}

// withNoContent adds the answer 204 to a stream of events.
func withNoContent(r map[string]*huma.Response) map[string]*huma.Response {
	r["204"] = &huma.Response{Description: "The client has the last event already. A browser then does not connect again."}
	return r
}

// sentProblem describes a problem of a batch: with or without what became of its lines.
func (a *API) sentProblem(text string) *huma.Response {
	return &huma.Response{Description: text, Content: map[string]*huma.MediaType{
		problem.ContentType: {Schema: &huma.Schema{AnyOf: []*huma.Schema{a.schemaOf(SentProblem{}), a.schemaOf(problem.Problem{})}}},
	}}
}

// openSchemas lets answers have more fields than the document says, so that fields can be
// added, and describes error codes, which are numbers or strings. What requests may have
// stays closed: a misspelt field is refused.
func (a *API) openSchemas() {
	// huma's own form of errors, see plainProblem.
	delete(a.huma.OpenAPI().Components.Schemas.Map(), "ErrorModel")
	delete(a.huma.OpenAPI().Components.Schemas.Map(), "ErrorDetail")
	requests := []string{"Call", "RedriveRequest", "RedriveFilter", "OpenCircuit", "CloseCircuit"}
	for name, s := range a.huma.OpenAPI().Components.Schemas.Map() {
		if !slices.Contains(requests, name) {
			s.AdditionalProperties = nil
		}
		if code := s.Properties["error_code"]; code != nil {
			s.Properties["error_code"] = nullable(code.Description, huma.TypeNumber, huma.TypeString)
		}
	}
}

// nullable is a schema of several types and null.
func nullable(text string, types ...string) *huma.Schema {
	s := &huma.Schema{Description: text}
	for _, t := range types {
		s.AnyOf = append(s.AnyOf, &huma.Schema{Type: t})
	}
	s.AnyOf = append(s.AnyOf, &huma.Schema{Type: "null"})
	return s
}

func textField(text string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Description: text}
}

func nullableText(text string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Nullable: true, Description: text}
}

func nullableTime(text string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Format: "date-time", Nullable: true, Description: text}
}

func wholeNumber(text string) *huma.Schema {
	return &huma.Schema{Type: huma.TypeInteger, Description: text}
}

// anything is a schema for any JSON value.
func anything(text string) *huma.Schema {
	return nullable(text, huma.TypeObject, huma.TypeArray, huma.TypeString, huma.TypeNumber, huma.TypeBoolean)
}

// callSchema is the schema of a line of a file of calls.
func callSchema() *huma.Schema {
	fields := map[string]*huma.Schema{
		"key":        nullable("The name of the call in its batch, 1 to 200 bytes. A number is kept as text.", huma.TypeString, huma.TypeNumber),
		"batch":      nullableText("The batch, for a single call only."),
		"upstream":   nullableText("The API to call. May be left out if only one is configured."),
		"method":     nullableText("The HTTP method; GET if it is left out."),
		"path":       {Type: huma.TypeString, Pattern: "^/", Description: "The path under the upstream's base_url. It may have a query string."},
		"query":      {Type: huma.TypeObject, Nullable: true, AdditionalProperties: true, Description: "Query parameters, in addition to those in path: strings, numbers, true, false, or lists of these; null leaves a name out."},
		"headers":    {Type: huma.TypeObject, Nullable: true, AdditionalProperties: &huma.Schema{Type: huma.TypeString}, Description: "Headers to send."},
		"body":       anything(`The body: a string is sent as it is, {"base64":…,"content_type":…} as those bytes, anything else as JSON.`),
		"priority":   {Type: huma.TypeString, Nullable: true, Enum: []any{"high", "normal", "low", nil}, Description: "normal if it is left out."},
		"idempotent": {Type: huma.TypeBoolean, Nullable: true, Description: "Sending the call twice does no harm. If it is left out, the upstream's configuration decides."},
		"not_before": nullableTime("The earliest time of the first send."),
		"deadline":   nullableTime("The time after which no send begins."),
		"meta":       {Type: huma.TypeObject, Nullable: true, AdditionalProperties: true, Description: "The sender's own; the result has it unchanged."},
	}
	return &huma.Schema{
		Type: huma.TypeObject, Description: "A call, as in a file of calls.", Properties: fields, Required: []string{"path"}, AdditionalProperties: false,
		Examples: []any{map[string]any{"key": "row-1", "method": "GET", "path": "/search/patent", "query": map[string]any{"q": "solar cell"}}},
	}
}

// resultFields are the fields of a line of a results file.
func resultFields() map[string]*huma.Schema {
	return map[string]*huma.Schema{
		"key":            textField("The key of the call, unique in its batch."),
		"id":             textField("The id of the call."),
		"batch":          textField("Its batch."),
		"upstream":       textField("The API that it is for."),
		"method":         textField("The HTTP method; JOB for a job."),
		"path":           textField("The path; / and the kind for a job."),
		"state":          {Type: huma.TypeString, Enum: []any{"open", "done", "dead", "dropped", "cancelled"}, Description: "How the call stands. A result is never open."},
		"class":          textField("Why, in the words of the policy."),
		"rule":           nullableText("The rule of the policy that decided."),
		"http_status":    {Type: huma.TypeInteger, Nullable: true, Description: "Null if no answer came."},
		"error_code":     nullable("The API's error code, a number or a string as the API gave it.", huma.TypeNumber, huma.TypeString),
		"error_message":  nullableText("The API's error message."),
		"user_message":   nullableText("What to tell an end user, if the call is dead or dropped."),
		"advice":         nullableText("What an operator can do, if the call is dead or dropped."),
		"correlation_id": nullableText("The API's id of the request, for its support."),
		"attempts":       wholeNumber("How many sends were counted as attempts."),
		"parked":         wholeNumber("How often the call was put back without spending an attempt."),
		"first_at":       nullableTime("When it was sent first."),
		"finished_at":    nullableTime("When it ended."),
		"digest":         textField("What identifies the content of the call."),
		"base_url":       textField("The base URL of the API, if it is known."),
		"line":           {Type: huma.TypeInteger, Nullable: true, Description: "The line in the file of a run; null here."},
		"amount":         {Type: huma.TypeNumber, Nullable: true, Description: "What the API said that it billed."},
		"headers":        {Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}, Description: "The headers of the answer that the upstream keeps."},
		"meta":           {Type: huma.TypeObject, Nullable: true, AdditionalProperties: true, Description: "The sender's own."},
		"verified":       {Type: huma.TypeBoolean, Description: "True if the body is the answer to the question whether the call took effect."},
		"body_freed":     {Type: huma.TypeBoolean, Description: "True if the body was freed from Redis after an export."},
		"body":           anything(`The answer: the JSON value as it came, a string for other text, {"base64":…,"content_type":…} for the rest.`),
	}
}

// optionalFields are those that a result may lack.
var optionalFields = []string{"base_url", "verified", "body_freed", "cursor"}

// resultSchema is the schema of a result line.
func resultSchema() *huma.Schema {
	fields := resultFields()
	fields["cursor"] = textField("Where a reader that has this line continues; see Last-Event-ID. Only the results of a batch have it.")
	return object("The result of a call, as in a results file.", fields)
}

// object is the schema of an object all fields of which are there, except the optional ones.
func object(text string, fields map[string]*huma.Schema) *huma.Schema {
	s := &huma.Schema{Type: huma.TypeObject, Description: text, Properties: fields}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if !slices.Contains(optionalFields, name) {
			s.Required = append(s.Required, name)
		}
	}
	return s
}

// deadLetterSchema is the schema of a dead letter in a list.
func deadLetterSchema() *huma.Schema {
	fields := resultFields()
	fields["group"] = textField("The group of dead letters that it belongs to.")
	fields["endpoint"] = textField("The endpoint that it is for.")
	return object("A dead letter: its result without the body.", fields)
}

// callInfoSchema is the schema of a call with all that is known of it.
func callInfoSchema() *huma.Schema {
	fields := resultFields()
	maps.Copy(fields, map[string]*huma.Schema{
		"group":       textField("The group of dead letters that it belongs to; empty if none."),
		"endpoint":    textField("The endpoint that it is for, once it has ended."),
		"transport":   textField("The transport error, if no answer came."),
		"generation":  wholeNumber("1, and one more each time that the call is redriven."),
		"accepted_at": {Type: huma.TypeString, Format: "date-time", Description: "When it was accepted."},
		"purged":      {Type: huma.TypeBoolean, Description: "The content of the call was removed."},
		"log": {Type: huma.TypeArray, Description: "The last 20 attempts of this generation, the oldest first, with the decisions not to send.", Items: object("", map[string]*huma.Schema{
			"at":             {Type: huma.TypeString, Format: "date-time", Description: "When the request was sent, or the decision made."},
			"attempt":        wholeNumber("The number of the attempt, from 1."),
			"job":            textField("What the policy decided: succeed, retry, park, dead_letter, drop."),
			"class":          textField(""),
			"rule":           textField(""),
			"http_status":    wholeNumber("0 if no answer came."),
			"error_code":     nullable("", huma.TypeNumber, huma.TypeString),
			"transport":      textField("The transport error, if no answer came."),
			"correlation_id": textField(""),
			"latency_ms":     wholeNumber("The time from the send to the answer, in milliseconds."),
		})},
		"lineage": {Type: huma.TypeArray, Description: "How the call ended before it was redriven, the oldest first.", Items: object("", map[string]*huma.Schema{
			"generation":     wholeNumber(""),
			"state":          textField(""),
			"class":          textField(""),
			"error_code":     nullable("", huma.TypeNumber, huma.TypeString),
			"correlation_id": textField(""),
			"attempts":       wholeNumber(""),
			"finished_at":    {Type: huma.TypeString, Format: "date-time"},
		})},
		"call": {AnyOf: []*huma.Schema{ref("Call"), {Type: "null"}}, Description: "The call itself; null if it was purged."},
	})
	return object("A call with all that is known of it.", fields)
}
