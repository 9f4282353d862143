package simapi

import (
	"net/http"
	"time"
)

// jiraAPI answers as Jira Cloud does: limits as headers with an ISO time, and a reason for a refusal.
var jiraAPI = api{
	name:    "jira",
	headers: []string{"Atl-Traceid: ${id}", "X-Arequestid: ${id}"},
	limitHeaders: []string{
		"X-Ratelimit-Limit: ${limit}", "X-Ratelimit-Remaining: ${left}", "X-Ratelimit-Reset: ${reset_iso}",
		"X-Ratelimit-Nearlimit: ${near_limit}", `Ratelimit: "global-app-quota"${low_left};t=${reset_seconds}`,
	},
	limit: 350,
	success: []successReply{
		{"* */search*", apiReply{body: `{"isLast":true,"issues":[` + jiraIssue + `]}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: `{"id":"10001","key":"SIM-1","self":"${path}/10001"}`}},
		{"PUT *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"DELETE *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"*", apiReply{body: jiraIssue}},
	},
	replies: map[string]apiReply{
		"burst-limit":  jiraLimit("jira-burst-based", time.Second),
		"tenant-quota": jiraLimit("jira-quota-tenant-based", 10*time.Minute),
		"global-quota": jiraLimit("jira-quota-global-based", 10*time.Minute),
		"issue-limit":  jiraLimit("jira-per-issue-on-write", 2*time.Second),
		"unauthorized": jiraError(http.StatusUnauthorized, "Client must be authenticated to access this resource."),
		"forbidden":    jiraError(http.StatusForbidden, "You do not have permission to edit this issue."),
		"bad-request": {
			status: http.StatusBadRequest, message: "Specify a summary.",
			body: `{"errorMessages":[],"errors":{"summary":"${message}"}}`,
		},
		"not-found":    jiraError(http.StatusNotFound, "Issue does not exist or you do not have permission to see it."),
		"conflict":     jiraError(http.StatusConflict, "The issue was changed by another request."),
		"server-error": jiraError(http.StatusInternalServerError, "Internal server error"),
		"unavailable":  jiraError(http.StatusServiceUnavailable, "Service unavailable").with(5*time.Second, "Retry-After: ${wait_seconds}"),
	},
	overLimit: "tenant-quota", badToken: "unauthorized", expiredToken: "unauthorized",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; burst-limit wait=2s x2; ok x20; server-error x2; ok x20; bad-request x2; ok x20; not-found; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/rest/api/3/issue/SIM-${row}"}},
	},
}

const jiraIssue = `{"id":"10001","key":"SIM-1","self":"${path}","fields":{"summary":"${object}","created":"${made_iso}"}}`

func jiraError(status int, message string) apiReply {
	return apiReply{status: status, message: message, body: `{"errorMessages":["${message}"],"errors":{}}`}
}

func jiraLimit(reason string, wait time.Duration) apiReply {
	return jiraError(http.StatusTooManyRequests, "Rate limit exceeded.").
		with(wait, "Ratelimit-Reason: "+reason, "Retry-After: ${wait_seconds}", "X-Ratelimit-Limit: ${limit}", "X-Ratelimit-Remaining: 0",
			"X-Ratelimit-Reset: ${wait_iso}", "X-Ratelimit-Nearlimit: true", "Ratelimit: ")
}
