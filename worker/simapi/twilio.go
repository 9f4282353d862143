package simapi

import (
	"net/http"
	"strconv"
	"time"
)

// twilioAPI answers as Twilio does: an error number, and no word of when calls are taken again.
var twilioAPI = api{
	name:    "twilio",
	headers: []string{"Twilio-Request-Id: RQ${id}", "Twilio-Concurrent-Requests: 1", "Twilio-Request-Duration: 0.012"},
	limit:   100,
	success: []successReply{
		{"POST */Messages.json", apiReply{status: http.StatusCreated, body: `{"sid":"SM${object}","status":"queued","direction":"outbound-api",` +
			`"num_segments":"1","error_code":null,"error_message":null,"date_created":"${made_rfc1123z}","uri":"${path}"}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: `{"sid":"CA${object}","status":"queued","date_created":"${made_rfc1123z}","uri":"${path}"}`}},
		{"DELETE *", apiReply{status: http.StatusNoContent, body: `{}`}},
		{"*", apiReply{body: `{"sid":"SM${object}","status":"delivered","date_created":"${made_rfc1123z}","uri":"${path}"}`}},
	},
	replies: map[string]apiReply{
		"too-many":       twilioError(http.StatusTooManyRequests, 20429, "Too Many Requests"),
		"queue-full":     twilioError(http.StatusBadRequest, 21611, "This 'From' number has exceeded the maximum number of queued messages"),
		"message-limit":  twilioError(http.StatusTooManyRequests, 63038, "Account exceeded the daily messages limit"),
		"bad-credential": twilioError(http.StatusUnauthorized, 20003, "Authenticate"),
		"not-active":     twilioError(http.StatusForbidden, 20005, "Account not active"),
		"forbidden":      twilioError(http.StatusForbidden, 20403, "Forbidden"),
		"bad-number":     twilioError(http.StatusBadRequest, 21211, "The 'To' number is not a valid phone number."),
		"unsubscribed":   twilioError(http.StatusBadRequest, 21610, "Attempt to send to unsubscribed recipient"),
		"not-found":      twilioError(http.StatusNotFound, 20404, "The requested resource was not found"),
		"server-error":   twilioError(http.StatusInternalServerError, 20500, "Internal server error"),
		"unavailable":    twilioError(http.StatusServiceUnavailable, 20503, "Service unavailable"),
	},
	overLimit: "too-many", outOfCredit: "not-active", badToken: "bad-credential", expiredToken: "bad-credential",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; too-many x2; ok x20; unavailable x2; ok x20; bad-number x2; ok x20; unsubscribed; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/2010-04-01/Accounts/ACsim/Messages/SM${row}.json"}},
	},
}

func twilioError(status, code int, message string) apiReply {
	number := strconv.Itoa(code)
	return apiReply{
		status: status, message: message,
		body: `{"code":` + number + `,"message":"${message}","more_info":"https://www.twilio.com/docs/errors/` + number + `","status":` +
			strconv.Itoa(status) + `}`,
	}
}
