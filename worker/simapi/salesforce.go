package simapi

import (
	"net/http"
	"time"
)

// salesforceAPI answers as Salesforce's REST API does: errors are arrays, and no answer says when calls are allowed again.
var salesforceAPI = api{
	name:         "salesforce",
	limitHeaders: []string{"Sforce-Limit-Info: api-usage=${used}/${limit}"},
	limit:        100_000,
	success: []successReply{
		{"* */query", apiReply{body: `{"totalSize":1,"done":true,"records":[{"attributes":{"type":"Account","url":"${path}"},"Id":"001${object}","Name":"Simulated"}]}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: `{"id":"001${object}","success":true,"errors":[]}`}},
		{"PATCH *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"DELETE *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"*", apiReply{body: `{"attributes":{"type":"Account","url":"${path}"},"Id":"001${object}","Name":"Simulated","CreatedDate":"${made_iso}"}`}},
	},
	replies: map[string]apiReply{
		"request-limit": salesforceError(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.").
			with(0, "Sforce-Limit-Info: api-usage=${limit}/${limit}"),
		"concurrent-limit": salesforceError(http.StatusForbidden, "REQUEST_LIMIT_EXCEEDED",
			"ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
		"expired-session": salesforceError(http.StatusUnauthorized, "INVALID_SESSION_ID", "Session expired or invalid"),
		"api-disabled":    salesforceError(http.StatusForbidden, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."),
		"forbidden": salesforceError(http.StatusForbidden, "INSUFFICIENT_ACCESS_OR_READONLY",
			"insufficient access rights on object id"),
		"locked-row":  salesforceError(http.StatusBadRequest, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
		"storage":     salesforceError(http.StatusBadRequest, "STORAGE_LIMIT_EXCEEDED", "storage limit exceeded"),
		"timeout":     salesforceError(http.StatusBadRequest, "QUERY_TIMEOUT", "Your query request was running for too long."),
		"bad-request": salesforceError(http.StatusBadRequest, "REQUIRED_FIELD_MISSING", "Required fields are missing: [Name]"),
		"bad-query":   salesforceError(http.StatusBadRequest, "MALFORMED_QUERY", "unexpected token: FORM"),
		"not-found":   salesforceError(http.StatusNotFound, "NOT_FOUND", "The requested resource does not exist"),
		"server-error": salesforceError(http.StatusInternalServerError, "UNKNOWN_EXCEPTION",
			"An unexpected error occurred. Please include this ErrorId if you contact support: ${id}"),
		"unavailable": salesforceError(http.StatusServiceUnavailable, "SERVER_UNAVAILABLE", "Server unavailable"),
	},
	overLimit: "request-limit", badToken: "expired-session", expiredToken: "expired-session",
	tokenPath: "/services/oauth2/token",
	tokenBody: `{"access_token":"${token}","instance_url":"https://sim.my.salesforce.com","id":"https://login.salesforce.com/id/sim",` +
		`"token_type":"Bearer","issued_at":"0","expires_in":${life}}`,
	demo: apiDemo{
		script: `
shared * *  -> ok x20; concurrent-limit x2; ok x20; unavailable x2; ok x20; server-error; ok x20; bad-request x2; ok x20; locked-row x2; ok
`,
		quota: Quota{Calls: 1000, Window: 24 * time.Hour},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/services/data/v62.0/sobjects/Account/001${row}"}},
	},
}

// salesforceError is an array of one error; of an error in a field, the documents have the field too.
func salesforceError(status int, code, message string) apiReply {
	return apiReply{status: status, message: message, body: `[{"message":"${message}","errorCode":"` + code + `","fields":[]}]`}
}
