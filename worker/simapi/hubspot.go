package simapi

import (
	"net/http"
	"time"
)

// hubspotAPI answers as HubSpot does: a category of error, and the name of the policy that refused a call.
var hubspotAPI = api{
	name:    "hubspot",
	headers: []string{"X-Hubspot-Correlation-Id: ${id}"},
	limitHeaders: []string{
		"X-Hubspot-Ratelimit-Max: ${limit}", "X-Hubspot-Ratelimit-Remaining: ${left}",
		"X-Hubspot-Ratelimit-Interval-Milliseconds: ${window_ms}",
	},
	limit: 100,
	success: []successReply{
		{"* */search", apiReply{body: `{"total":1,"results":[` + hubspotObject + `]}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: hubspotObject}},
		{"DELETE *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"*", apiReply{body: hubspotObject}},
	},
	replies: map[string]apiReply{
		"rate-limit": hubspotLimit("TEN_SECONDLY_ROLLING", "You have reached your ten_secondly_rolling limit.").
			with(0, "X-Hubspot-Ratelimit-Max: ${limit}", "X-Hubspot-Ratelimit-Remaining: 0",
				"X-Hubspot-Ratelimit-Interval-Milliseconds: 10000", "Retry-After: ${wait_seconds}"),
		"secondly-limit": hubspotLimit("SECONDLY", "You have reached your secondly limit."),
		"daily-limit": hubspotLimit("DAILY", "You have reached your daily limit.").
			with(0, "X-Hubspot-Ratelimit-Daily: 250000", "X-Hubspot-Ratelimit-Daily-Remaining: 0"),
		"concurrent-limit": hubspotLimit("CONCURRENT_REQUESTS", "You have reached your concurrent requests limit."),
		"invalid-token": hubspotError(http.StatusUnauthorized, "INVALID_AUTHENTICATION",
			"Authentication credentials not found."),
		"expired-token": hubspotError(http.StatusUnauthorized, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired."),
		"forbidden":     hubspotError(http.StatusForbidden, "MISSING_SCOPES", "This app hasn't been granted all required scopes to make this call."),
		"bad-request":   hubspotError(http.StatusBadRequest, "VALIDATION_ERROR", "Property values were not valid"),
		"not-found":     hubspotError(http.StatusNotFound, "OBJECT_NOT_FOUND", "resource not found"),
		"conflict":      hubspotError(http.StatusConflict, "CONFLICT", "Contact already exists."),
		"server-error":  hubspotError(http.StatusInternalServerError, "INTERNAL_ERROR", "internal error"),
		"migration":     hubspotError(477, "MIGRATION_IN_PROGRESS", "This account is being moved.").with(time.Minute, "Retry-After: ${wait_seconds}"),
	},
	overLimit: "rate-limit", badToken: "invalid-token", expiredToken: "expired-token",
	tokenPath: "/oauth/v1/token",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; secondly-limit x2; ok x20; server-error x2; ok x20; bad-request x2; ok x20; conflict; ok x20; http:502; ok
`,
		quota: Quota{Calls: 100, Window: 10 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/crm/v3/objects/contacts/${row}"}},
	},
}

const hubspotObject = `{"id":"${object}","properties":{"email":"sim@example.com"},"createdAt":"${made_iso}","updatedAt":"${made_iso}","archived":false}`

func hubspotError(status int, category, message string) apiReply {
	return apiReply{
		status: status, message: message,
		body: `{"status":"error","message":"${message}","correlationId":"${id}","category":"` + category + `"}`,
	}
}

func hubspotLimit(policy, message string) apiReply {
	return apiReply{
		status: http.StatusTooManyRequests, message: message,
		body: `{"status":"error","message":"${message}","errorType":"RATE_LIMIT","correlationId":"${id}","policyName":"` + policy + `"}`,
	}
}
