package simapi

import (
	"net/http"
	"time"
)

// openaiAPI answers as OpenAI does: an error object with a type and a code, limits as headers with Go-like durations.
var openaiAPI = api{
	name:    "openai",
	headers: []string{"Openai-Version: 2020-10-01", "Openai-Processing-Ms: 12", "X-Request-Id: req_${id}"},
	limitHeaders: []string{
		"X-Ratelimit-Limit-Requests: ${limit}", "X-Ratelimit-Remaining-Requests: ${left}", "X-Ratelimit-Reset-Requests: ${reset_go}",
	},
	limit: 500,
	success: []successReply{
		{"* */embeddings", apiReply{body: `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.0125,-0.0084,0.0311]}],` +
			`"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`}},
		{"* */responses", apiReply{body: `{"id":"resp_${object}","object":"response","created_at":${made_epoch},"status":"completed",` +
			`"model":"gpt-4.1-mini","output":[{"type":"message","id":"msg_${object}","role":"assistant","status":"completed",` +
			`"content":[{"type":"output_text","text":"A simulated answer.","annotations":[]}]}],` +
			`"usage":{"input_tokens":12,"output_tokens":4,"total_tokens":16}}`}},
		{"* */models", apiReply{body: `{"object":"list","data":[{"id":"gpt-4.1-mini","object":"model","created":${made_epoch},"owned_by":"system"}]}`}},
		{"*", apiReply{body: `{"id":"chatcmpl-${object}","object":"chat.completion","created":${made_epoch},"model":"gpt-4.1-mini",` +
			`"choices":[{"index":0,"message":{"role":"assistant","content":"A simulated answer."},"finish_reason":"stop"}],` +
			`"usage":{"prompt_tokens":12,"completion_tokens":4,"total_tokens":16}}`}},
	},
	replies: map[string]apiReply{
		"rate-limit": openaiError(http.StatusTooManyRequests, "tokens", "rate_limit_exceeded",
			"Rate limit reached for gpt-4.1-mini on tokens per min (TPM). Please try again in ${wait_go}.").
			with(time.Minute, "X-Ratelimit-Limit-Tokens: 30000", "X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: ${wait_go}"),
		"request-limit": openaiError(http.StatusTooManyRequests, "requests", "rate_limit_exceeded",
			"Rate limit reached for gpt-4.1-mini on requests per min (RPM): Limit ${limit}. Please try again in ${wait_go}.").
			with(20*time.Second, "X-Ratelimit-Limit-Requests: ${limit}", "X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: ${wait_go}"),
		"insufficient-quota": openaiError(http.StatusTooManyRequests, "insufficient_quota", "insufficient_quota",
			"You exceeded your current quota, please check your plan and billing details."),
		"invalid-key": openaiError(http.StatusUnauthorized, "invalid_request_error", "invalid_api_key",
			"Incorrect API key provided. You can find your API key in the dashboard."),
		"forbidden": openaiError(http.StatusForbidden, "invalid_request_error", "unsupported_country_region_territory",
			"Country, region, or territory not supported"),
		"bad-request": openaiError(http.StatusBadRequest, "invalid_request_error", "context_length_exceeded",
			"This model's maximum context length is exceeded by the messages."),
		"no-model": openaiError(http.StatusNotFound, "invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
		"server-error": openaiError(http.StatusInternalServerError, "server_error", "",
			"The server had an error while processing your request."),
		"overloaded": openaiError(http.StatusServiceUnavailable, "server_error", "",
			"That model is currently overloaded with other requests."),
	},
	overLimit: "request-limit", outOfCredit: "insufficient-quota", badToken: "invalid-key", expiredToken: "invalid-key",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; rate-limit wait=2s x2; ok x20; overloaded x2; ok x20; server-error; ok x20; bad-request; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{
			{Method: http.MethodPost, Path: "/v1/embeddings", Body: `{"model":"text-embedding-3-small","input":"text ${row}"}`},
		},
	},
}

// openaiError is an error object; an empty code is null.
func openaiError(status int, kind, code, message string) apiReply {
	quoted := "null"
	if code != "" {
		quoted = `"` + code + `"`
	}
	return apiReply{
		status: status, message: message,
		body: `{"error":{"message":"${message}","type":"` + kind + `","param":null,"code":` + quoted + `}}`,
	}
}
