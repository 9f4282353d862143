package simapi

import (
	"net/http"
	"strconv"
	"time"
)

// epoAPI answers as the European Patent Office's Open Patent Services do: XML, a refusal's reason in a header, an expired
// token as a 400.
var epoAPI = api{
	name:    "epo-ops",
	headers: []string{"X-Throttling-Control: idle (images=green:200, inpadoc=green:60, other=green:1000, retrieval=green:200, search=green:30)"},
	limitHeaders: []string{
		"X-Individualquotaperhour-Used: ${used}", "X-Registeredquotaperweek-Used: ${used}",
	},
	limit: 200,
	success: []successReply{
		{"*", apiReply{kind: xmlType, body: `<?xml version="1.0" encoding="UTF-8"?>` +
			`<ops:world-patent-data xmlns:ops="http://ops.epo.org"><ops:meta name="elapsed-time" value="3"/>` +
			`<exchange-documents xmlns="http://www.epo.org/exchange"><exchange-document country="EP" doc-number="1000000" kind="A1" system="${object}"/>` +
			`</exchange-documents></ops:world-patent-data>`}},
	},
	replies: map[string]apiReply{
		"hour-quota": epoRefusal("IndividualQuotaPerHour"),
		"week-quota": epoRefusal("RegisteredQuotaPerWeek"),
		"paid-quota": epoRefusal("RegisteredPayingQuotaPerWeek"),
		// Retry-After is in milliseconds here.
		"throttled": epoRefusal("ThrottlingControlQuota").with(time.Minute, "Retry-After: ${wait_ms}",
			"X-Throttling-Control: busy (images=green:100, inpadoc=green:45, other=green:1000, retrieval=black:0, search=black:0)"),
		"robot":         epoFault(http.StatusForbidden, "CLIENT.RobotDetected", "Please try again later"),
		"expired-token": epoError(http.StatusBadRequest, "invalid_access_token", "<description>Access token has expired</description>"),
		"invalid-token": epoError(http.StatusBadRequest, "invalid_access_token", "<description>Invalid access token</description>"),
		"blocked":       epoError(http.StatusForbidden, "Developer account is blocked", "").with(0, "X-Rejection-Reason: [DeveloperBlocked]"),
		"bad-request":   epoFault(http.StatusBadRequest, "CLIENT.InvalidReference", "The reference is invalid"),
		"bad-query":     epoFault(http.StatusBadRequest, "CLIENT.CQL", "The query is not valid"),
		"not-found":     epoFault(http.StatusNotFound, "SERVER.EntityNotFound", "No results found"),
		"too-large":     epoFault(http.StatusRequestEntityTooLarge, "CLIENT.AmbiguousRequest", "The request was ambiguous"),
		"server-error":  epoFault(http.StatusInternalServerError, "SERVER.DomainAccess", "The request could not be processed. Please try again later"),
		"unavailable":   epoError(http.StatusServiceUnavailable, "Service unavailable", ""),
	},
	overLimit: "hour-quota", badToken: "invalid-token", expiredToken: "expired-token",
	tokenPath: "/3.2/auth/accesstoken",
	tokenBody: `{"issued_at":"0","application_name":"sim","scope":"core","status":"approved","api_product_list":"[ops-prod]",` +
		`"expires_in":"${life}","developer.email":"sim@example.com","organization_id":"0","token_type":"BearerToken",` +
		`"client_id":"sim","access_token":"${token}","organization_name":"epo","refresh_count":"0"}`,
	demo: apiDemo{
		script: `
shared * *  -> ok x20; throttled wait=2s x2; ok x20; unavailable x2; ok x20; server-error; ok x20; not-found x2; ok x20; http:502; ok
`,
		quota: Quota{Calls: 1000, Window: time.Hour},
		calls: []DemoCall{{Method: http.MethodGet, Path: "/rest-services/published-data/publication/epodoc/EP100${row}/biblio"}},
	},
}

const xmlType = "application/xml"

// epoError is an error of the gateway before the services.
func epoError(status int, message, more string) apiReply {
	return apiReply{
		status: status, kind: xmlType, message: message,
		body: `<error><code>` + strconv.Itoa(status) + `</code><message>${message}</message>` + more + `</error>`,
	}
}

// epoFault is an error of a service.
func epoFault(status int, code, message string) apiReply {
	return apiReply{
		status: status, kind: xmlType, message: message,
		body: `<?xml version="1.0" encoding="UTF-8"?><fault xmlns="http://ops.epo.org"><code>` + code + `</code><message>${message}</message></fault>`,
	}
}

// epoRefusal is the answer to a call over a quota; its reason is in a header.
func epoRefusal(reason string) apiReply {
	return epoError(http.StatusForbidden, "This request has been rejected due to the violation of Fair Use policy",
		"<moreInfo>http://www.epo.org/searching/free/ops.html</moreInfo>").with(0, "X-Rejection-Reason: "+reason)
}
