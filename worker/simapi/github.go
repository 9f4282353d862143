package simapi

import (
	"net/http"
	"time"
)

// githubAPI answers as GitHub does: limits as headers with an epoch, 403 for both kinds of limit, GraphQL errors in a 200.
var githubAPI = api{
	name:    "github",
	headers: []string{"X-Github-Media-Type: github.v3; format=json", "X-Github-Request-Id: ${id}"},
	limitHeaders: []string{
		"X-Ratelimit-Limit: ${limit}", "X-Ratelimit-Remaining: ${left}", "X-Ratelimit-Used: ${used}",
		"X-Ratelimit-Reset: ${reset_epoch}", "X-Ratelimit-Resource: core",
	},
	limit: 5000,
	success: []successReply{
		{"* /graphql", apiReply{body: `{"data":{"viewer":{"login":"octo-sim"}}}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: githubObject}},
		{"DELETE *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"*", apiReply{body: githubObject}},
	},
	replies: map[string]apiReply{
		"rate-limit": githubError(http.StatusForbidden, "API rate limit exceeded for user ID 1.",
			"/overview/rate-limits-for-the-rest-api").
			with(time.Minute, "X-Ratelimit-Limit: ${limit}", "X-Ratelimit-Remaining: 0", "X-Ratelimit-Used: ${limit}",
				"X-Ratelimit-Reset: ${wait_epoch}", "X-Ratelimit-Resource: core"),
		"secondary-limit": githubError(http.StatusForbidden,
			"You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
			"/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits").
			with(0, "Retry-After: ${wait_seconds}"),
		"graphql-rate-limit": {
			message: "API rate limit exceeded for user ID 1.", wait: time.Minute,
			body: `{"data":null,"errors":[{"type":"RATE_LIMITED","message":"${message}"}]}`,
			headers: []string{
				"X-Ratelimit-Limit: ${limit}", "X-Ratelimit-Remaining: 0", "X-Ratelimit-Used: ${limit}",
				"X-Ratelimit-Reset: ${wait_epoch}", "X-Ratelimit-Resource: graphql",
			},
		},
		"bad-credentials": githubError(http.StatusUnauthorized, "Bad credentials", ""),
		"forbidden":       githubError(http.StatusForbidden, "Resource not accessible by personal access token", ""),
		"not-found":       githubError(http.StatusNotFound, "Not Found", ""),
		"invalid": {
			status: http.StatusUnprocessableEntity, message: "Validation Failed",
			body: `{"message":"${message}","errors":[{"resource":"Issue","field":"title","code":"missing_field"}],` +
				`"documentation_url":"https://docs.github.com/rest","status":"422"}`,
		},
		"server-error": githubError(http.StatusInternalServerError, "Server Error", ""),
		"overloaded": githubError(http.StatusServiceUnavailable,
			"We couldn't respond to your request in time. Sorry about that. Please try resubmitting your request.", ""),
	},
	overLimit: "rate-limit", badToken: "bad-credentials", expiredToken: "bad-credentials",
	tokenPath: "/login/oauth/access_token",
	demo: apiDemo{
		script: `
GET /repos/octo/demo/issues/33  -> not-found forever
shared * *  -> ok x20; rate-limit wait=2s x2; ok x20; overloaded x2; ok x20; server-error; ok x20; invalid; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/repos/octo/demo/issues/${row}"}},
	},
}

const githubObject = `{"id":1,"node_id":"${object}","url":"https://api.github.com${path}","title":"A simulated resource","state":"open",` +
	`"created_at":"${made_iso}"}`

func githubError(status int, message, page string) apiReply {
	return apiReply{
		status: status, message: message,
		body: `{"message":"${message}","documentation_url":"https://docs.github.com/rest` + page + `"}`,
	}
}
