package simapi

import (
	"net/http"
	"time"
)

// anthropicAPI answers as Anthropic does: an error with a type, limits as headers with RFC 3339 times, 529 for overload.
var anthropicAPI = api{
	name:    "anthropic",
	headers: []string{"Request-Id: req_${id}"},
	limitHeaders: []string{
		"Anthropic-Ratelimit-Requests-Limit: ${limit}", "Anthropic-Ratelimit-Requests-Remaining: ${left}",
		"Anthropic-Ratelimit-Requests-Reset: ${reset_iso}",
	},
	limit: 50,
	success: []successReply{
		{"* */count_tokens", apiReply{body: `{"input_tokens":12}`}},
		{"* */models", apiReply{body: `{"data":[{"type":"model","id":"claude-sonnet-4-5","display_name":"Claude Sonnet 4.5","created_at":"${made_iso}"}],` +
			`"has_more":false,"first_id":"claude-sonnet-4-5","last_id":"claude-sonnet-4-5"}`}},
		{"*", apiReply{body: `{"id":"msg_${object}","type":"message","role":"assistant","model":"claude-sonnet-4-5",` +
			`"content":[{"type":"text","text":"A simulated answer."}],"stop_reason":"end_turn","stop_sequence":null,` +
			`"usage":{"input_tokens":12,"output_tokens":4}}`}},
	},
	replies: map[string]apiReply{
		"rate-limit": anthropicError(http.StatusTooManyRequests, "rate_limit_error",
			"This request would exceed your organization's rate limit of ${limit} requests per minute.").
			with(20*time.Second, "Retry-After: ${wait_seconds}", "Anthropic-Ratelimit-Requests-Limit: ${limit}",
				"Anthropic-Ratelimit-Requests-Remaining: 0", "Anthropic-Ratelimit-Requests-Reset: ${wait_iso}"),
		"token-limit": anthropicError(http.StatusTooManyRequests, "rate_limit_error",
			"This request would exceed your organization's rate limit of 30,000 input tokens per minute.").
			with(20*time.Second, "Retry-After: ${wait_seconds}", "Anthropic-Ratelimit-Input-Tokens-Limit: 30000",
				"Anthropic-Ratelimit-Input-Tokens-Remaining: 0", "Anthropic-Ratelimit-Input-Tokens-Reset: ${wait_iso}"),
		"overloaded": anthropicError(529, "overloaded_error", "Overloaded"),
		"credit-balance": anthropicError(http.StatusBadRequest, "invalid_request_error",
			"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."),
		"invalid-key":  anthropicError(http.StatusUnauthorized, "authentication_error", "invalid x-api-key"),
		"forbidden":    anthropicError(http.StatusForbidden, "permission_error", "Your API key does not have permission to use the specified resource."),
		"bad-request":  anthropicError(http.StatusBadRequest, "invalid_request_error", "max_tokens: Field required"),
		"not-found":    anthropicError(http.StatusNotFound, "not_found_error", "model: claude-none"),
		"too-large":    anthropicError(http.StatusRequestEntityTooLarge, "request_too_large", "Request exceeds the maximum size"),
		"server-error": anthropicError(http.StatusInternalServerError, "api_error", "Internal server error"),
	},
	overLimit: "rate-limit", outOfCredit: "credit-balance", badToken: "invalid-key", expiredToken: "invalid-key",
	tokenHeader: "X-Api-Key",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; token-limit wait=2s x2; ok x20; overloaded x2; ok x20; server-error; ok x20; bad-request; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{
			Method: http.MethodPost, Path: "/v1/messages",
			Body: `{"model":"claude-sonnet-4-5","max_tokens":64,"messages":[{"role":"user","content":"text ${row}"}]}`,
		}},
	},
}

func anthropicError(status int, kind, message string) apiReply {
	return apiReply{
		status: status, message: message,
		body: `{"type":"error","error":{"type":"` + kind + `","message":"${message}"},"request_id":"req_${id}"}`,
	}
}
