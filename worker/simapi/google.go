package simapi

import (
	"net/http"
	"strconv"
	"time"
)

// googleAPI answers as Google's APIs do: a google.rpc.Status with details, or the older list of errors with reasons. No
// header says what is left of a quota.
var googleAPI = api{
	name:    "google",
	headers: []string{"Server: ESF", "Vary: Origin, X-Origin, Referer"},
	limit:   60,
	success: []successReply{
		{"* *:generateContent", apiReply{body: `{"candidates":[{"content":{"parts":[{"text":"A simulated answer."}],"role":"model"},` +
			`"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":12,"candidatesTokenCount":4,"totalTokenCount":16}}`}},
		{"DELETE *", apiReply{status: http.StatusOK, body: `{}`}},
		{"*", apiReply{body: `{"kind":"simulated#resource","id":"${object}","name":"${path}","createTime":"${made_iso}"}`}},
	},
	replies: map[string]apiReply{
		"rate-limit": googleError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in ${wait_go}.",
			googleQuotaFailure, `{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"${wait_seconds}s"}`).with(13 * time.Second),
		"quota": googleError(http.StatusTooManyRequests, "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan.",
			googleQuotaFailure),
		"old-rate-limit": googleOldError(http.StatusForbidden, "usageLimits", "userRateLimitExceeded", "User Rate Limit Exceeded"),
		"old-quota":      googleOldError(http.StatusForbidden, "usageLimits", "dailyLimitExceeded", "Daily Limit Exceeded"),
		"billing": googleError(http.StatusForbidden, "PERMISSION_DENIED", "This API method requires billing to be enabled.",
			`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"BILLING_DISABLED","domain":"googleapis.com"}`),
		"invalid-token": googleError(http.StatusUnauthorized, "UNAUTHENTICATED", "Request had invalid authentication credentials.",
			`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"ACCESS_TOKEN_EXPIRED","domain":"googleapis.com"}`),
		"invalid-key": googleError(http.StatusBadRequest, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.",
			`{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}`),
		"forbidden":    googleError(http.StatusForbidden, "PERMISSION_DENIED", "The caller does not have permission"),
		"bad-request":  googleError(http.StatusBadRequest, "INVALID_ARGUMENT", "Request contains an invalid argument."),
		"not-found":    googleError(http.StatusNotFound, "NOT_FOUND", "Requested entity was not found."),
		"conflict":     googleError(http.StatusConflict, "ABORTED", "The operation was aborted due to a concurrency issue."),
		"server-error": googleError(http.StatusInternalServerError, "INTERNAL", "Internal error encountered."),
		"overloaded":   googleError(http.StatusServiceUnavailable, "UNAVAILABLE", "The service is currently unavailable."),
		"timeout":      googleError(http.StatusGatewayTimeout, "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
	},
	overLimit: "rate-limit", outOfCredit: "billing", badToken: "invalid-token", expiredToken: "invalid-token",
	tokenHeader: "X-Goog-Api-Key", tokenPath: "/token",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; rate-limit wait=2s x2; ok x20; overloaded x2; ok x20; server-error; ok x20; bad-request; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/drive/v3/files/file-${row}"}},
	},
}

const googleQuotaFailure = `{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"project:simulated",` +
	`"quotaMetric":"simulated.googleapis.com/requests","quotaId":"RequestsPerMinutePerProject","quotaValue":"${limit}"}]}`

// googleError is a google.rpc.Status.
func googleError(status int, code, message string, details ...string) apiReply {
	list := ""
	for i, d := range details {
		if i > 0 {
			list += ","
		}
		list += d
	}
	if list != "" {
		list = `,"details":[` + list + `]`
	}
	return apiReply{
		status: status, message: message,
		body: `{"error":{"code":` + strconv.Itoa(status) + `,"message":"${message}","status":"` + code + `"` + list + `}}`,
	}
}

// googleOldError is the form of the APIs that have been there longest.
func googleOldError(status int, domain, reason, message string) apiReply {
	return apiReply{
		status: status, message: message,
		body: `{"error":{"errors":[{"domain":"` + domain + `","reason":"` + reason + `","message":"${message}"}],"code":` +
			strconv.Itoa(status) + `,"message":"${message}"}}`,
	}
}
