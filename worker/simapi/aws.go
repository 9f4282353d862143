package simapi

import (
	"net/http"
	"time"
)

// awsAPI answers as AWS services with a JSON protocol do: the error's name is in the body as __type, or in a header. No
// answer says when calls are taken again.
var awsAPI = api{
	name:    "aws",
	headers: []string{"X-Amzn-Requestid: ${id}"},
	limit:   100,
	success: []successReply{
		{"POST /", apiReply{kind: awsJSON, body: `{"Item":{"id":{"S":"${object}"},"made":{"N":"${made_epoch}"}}}`}},
		{"*", apiReply{body: `{"id":"${object}","path":"${path}","createdAt":"${made_iso}"}`}},
	},
	replies: map[string]apiReply{
		"throttling":       awsError(http.StatusBadRequest, "ThrottlingException", "Rate exceeded"),
		"rest-throttling":  awsRestError(http.StatusTooManyRequests, "TooManyRequestsException", "Too Many Requests"),
		"throughput":       awsError(http.StatusBadRequest, "ProvisionedThroughputExceededException", "The level of configured provisioned throughput for the table was exceeded."),
		"request-limit":    awsError(http.StatusBadRequest, "RequestLimitExceeded", "Throughput exceeds the current throughput limit for your account."),
		"service-quota":    awsRestError(http.StatusPaymentRequired, "ServiceQuotaExceededException", "The request exceeds the service quota."),
		"expired-token":    awsError(http.StatusBadRequest, "ExpiredTokenException", "The security token included in the request is expired"),
		"invalid-token":    awsError(http.StatusBadRequest, "UnrecognizedClientException", "The security token included in the request is invalid."),
		"access-denied":    awsError(http.StatusBadRequest, "AccessDeniedException", "User is not authorized to perform this action"),
		"bad-request":      awsError(http.StatusBadRequest, "ValidationException", "One or more parameter values were invalid"),
		"not-found":        awsError(http.StatusBadRequest, "ResourceNotFoundException", "Requested resource not found"),
		"condition-failed": awsError(http.StatusBadRequest, "ConditionalCheckFailedException", "The conditional request failed"),
		"server-error":     awsError(http.StatusInternalServerError, "InternalServerError", "Internal server error"),
		"unavailable":      awsError(http.StatusServiceUnavailable, "ServiceUnavailableException", "Service unavailable"),
	},
	overLimit: "throttling", badToken: "invalid-token", expiredToken: "expired-token",
	tokenHeader: "X-Amz-Security-Token",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; throttling x2; ok x20; unavailable x2; ok x20; server-error; ok x20; bad-request x2; ok x20; throughput x2; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/items/${row}"}},
	},
}

const awsJSON = "application/x-amz-json-1.0"

// awsError is an error of a JSON protocol.
func awsError(status int, name, message string) apiReply {
	return apiReply{status: status, kind: awsJSON, message: message, body: `{"__type":"com.amazonaws.sim#` + name + `","message":"${message}"}`}
}

// awsRestError is an error of a REST protocol.
func awsRestError(status int, name, message string) apiReply {
	return apiReply{status: status, message: message, headers: []string{"X-Amzn-Errortype: " + name + ":http://internal.amazon.com/sim/"}, body: `{"message":"${message}"}`}
}
