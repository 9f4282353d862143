package simapi

import (
	"net/http"
	"time"
)

// slackAPI answers as Slack's Web API does: a refusal is a 200 with ok false and a word.
var slackAPI = api{
	name:    "slack",
	headers: []string{"X-Slack-Req-Id: ${id}"},
	limit:   50,
	success: []successReply{
		{"* */chat.postMessage", apiReply{body: `{"ok":true,"channel":"C0SIMULATED","ts":"${made_epoch}.000100",` +
			`"message":{"type":"message","text":"${object}","ts":"${made_epoch}.000100"}}`}},
		{"* */auth.test", apiReply{body: `{"ok":true,"url":"https://sim.slack.com/","team":"Simulated","user":"sim","team_id":"T0SIM","user_id":"U0SIM"}`}},
		{"*", apiReply{body: `{"ok":true,"id":"${object}","response_metadata":{"next_cursor":""}}`}},
	},
	replies: map[string]apiReply{
		"rate-limit":     slackError("ratelimited").as(http.StatusTooManyRequests).with(2*time.Second, "Retry-After: ${wait_seconds}"),
		"ratelimited":    slackError("ratelimited").with(0, "Retry-After: ${wait_seconds}"),
		"message-limit":  slackError("message_limit_exceeded"),
		"invalid-auth":   slackError("invalid_auth"),
		"not-authed":     slackError("not_authed"),
		"token-expired":  slackError("token_expired"),
		"missing-scope":  {body: `{"ok":false,"error":"missing_scope","needed":"chat:write","provided":"identify"}`},
		"no-channel":     slackError("channel_not_found"),
		"internal-error": slackError("internal_error"),
		"fatal-error":    slackError("fatal_error"),
		"unavailable":    slackError("service_unavailable").as(http.StatusServiceUnavailable),
		"team-moves":     slackError("team_added_to_org"),
	},
	overLimit: "rate-limit", badToken: "invalid-auth", expiredToken: "token-expired",
	tokenPath: "/api/oauth.v2.access",
	tokenBody: `{"ok":true,"access_token":"${token}","token_type":"bot","expires_in":${life}}`,
	demo: apiDemo{
		script: `
shared * *  -> ok x20; ratelimited wait=2s x2; ok x20; unavailable x2; ok x20; internal-error; ok x20; no-channel x2; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/conversations.info", Query: map[string]string{"channel": "C${row}"}}},
	},
}

func slackError(word string) apiReply {
	return apiReply{body: `{"ok":false,"error":"` + word + `"}`}
}
