package simapi

import (
	"net/http"
)

// stripeAPI answers as Stripe does: Stripe-Should-Retry decides, and the answer to a POST is kept by its Idempotency-Key
// and sent again.
var stripeAPI = api{
	name:    "stripe",
	headers: []string{"Request-Id: req_${id}", "Stripe-Version: 2025-03-31.basil"},
	limit:   100,
	success: []successReply{
		{"GET */search", apiReply{body: `{"object":"search_result","url":"${path}","has_more":false,"data":[]}`}},
		{"DELETE *", apiReply{body: `{"id":"${object}","object":"customer","deleted":true}`}},
		{"*", apiReply{body: `{"id":"pi_${object}","object":"payment_intent","amount":1000,"currency":"eur","status":"succeeded",` +
			`"created":${made_epoch},"livemode":false,"metadata":{}}`}},
	},
	replies: map[string]apiReply{
		"rate-limit": stripeError(http.StatusTooManyRequests, "invalid_request_error", "rate_limit",
			"Request rate limit exceeded.").with(0, "Stripe-Rate-Limited-Reason: global-rate", "Retry-After: ${wait_seconds}").refusedBeforeWork(),
		"lock-timeout": stripeError(http.StatusTooManyRequests, "invalid_request_error", "lock_timeout",
			"This object cannot be accessed right now because another API request or Stripe process is currently accessing it.").
			with(0, "Stripe-Should-Retry: true").refusedBeforeWork(),
		"conflict": stripeError(http.StatusConflict, "idempotency_error", "idempotency_key_in_use",
			"There is currently another in-progress request using this Stripe Account and Idempotency Key.").
			with(0, "Stripe-Should-Retry: true").refusedBeforeWork(),
		keyInUse: stripeError(http.StatusConflict, "idempotency_error", "idempotency_key_in_use",
			"There is currently another in-progress request using this Stripe Account and Idempotency Key.").
			with(0, "Stripe-Should-Retry: true").refusedBeforeWork(),
		keyOfAnother: stripeError(http.StatusBadRequest, "idempotency_error", "",
			"Keys for idempotent requests can only be used with the same parameters they were first used with.").
			with(0, "Stripe-Should-Retry: false").refusedBeforeWork(),
		"declined": {
			status: http.StatusPaymentRequired, message: "Your card was declined.",
			body: `{"error":{"code":"card_declined","decline_code":"generic_decline","doc_url":"https://stripe.com/docs/error-codes/card-declined",` +
				`"message":"${message}","type":"card_error"}}`,
		},
		"invalid-key": stripeError(http.StatusUnauthorized, "invalid_request_error", "", "Invalid API Key provided.").refusedBeforeWork(),
		"expired-key": stripeError(http.StatusUnauthorized, "invalid_request_error", "api_key_expired", "Expired API Key provided.").refusedBeforeWork(),
		"forbidden": stripeError(http.StatusForbidden, "invalid_request_error", "",
			"The provided key does not have the required permissions for this endpoint.").refusedBeforeWork(),
		"bad-request":  stripeError(http.StatusBadRequest, "invalid_request_error", "parameter_missing", "Missing required param: amount.").refusedBeforeWork(),
		"not-found":    stripeError(http.StatusNotFound, "invalid_request_error", "resource_missing", "No such resource."),
		"server-error": stripeError(http.StatusInternalServerError, "api_error", "", "An unknown error occurred."),
		"overloaded":   stripeError(http.StatusServiceUnavailable, "api_error", "", "The service is unavailable.").refusedBeforeWork(),
		"no-retry": stripeError(http.StatusServiceUnavailable, "api_error", "", "The service is unavailable.").
			with(0, "Stripe-Should-Retry: false"),
	},
	overLimit: "rate-limit", badToken: "invalid-key", expiredToken: "expired-key",
	keepsAnswers: true,
	demo: apiDemo{
		script: `
shared * *  -> ok x20; conflict x2; ok x20; declined x2; ok x20; lock-timeout x2; ok x20; server-error; ok x20; bad-request; ok
`,
		calls: []DemoCall{{Method: http.MethodPost, Path: "/v1/payment_intents", Body: `{"amount":1000,"currency":"eur","metadata":{"row":"${row}"}}`}},
	},
}

func stripeError(status int, kind, code, message string) apiReply {
	coded := ""
	if code != "" {
		coded = `"code":"` + code + `","doc_url":"https://stripe.com/docs/error-codes/` + code + `",`
	}
	return apiReply{
		status: status, message: message,
		body: `{"error":{` + coded + `"message":"${message}","request_log_url":"https://dashboard.stripe.com/test/logs/req_${id}","type":"` + kind + `"}}`,
	}
}
