package simapi

import (
	"net/http"
	"time"
)

// shopifyAPI answers as Shopify does: GraphQL refusals in a 200 with the points of a bucket that refills, and a REST API
// with a leaky bucket.
var shopifyAPI = api{
	name:         "shopify",
	headers:      []string{"X-Request-Id: ${id}", "X-Shopify-Api-Version: 2025-07"},
	limitHeaders: []string{"X-Shopify-Shop-Api-Call-Limit: ${used}/${limit}"},
	limit:        100,
	success: []successReply{
		{"* */graphql.json", apiReply{body: `{"data":{"product":{"id":"gid://shopify/Product/1","title":"${object}"}},"extensions":{"cost":` +
			`{"requestedQueryCost":${points},"actualQueryCost":${points},"throttleStatus":{"maximumAvailable":${points_max}.0,` +
			`"currentlyAvailable":${points_now},"restoreRate":${points_per_second}.0}}}}`}},
		{"POST *", apiReply{status: http.StatusCreated, body: shopifyObject}},
		{"DELETE *", apiReply{body: `{}`}},
		{"*", apiReply{body: shopifyObject}},
	},
	replies: map[string]apiReply{
		"throttled": {
			message: "Throttled", wait: 2 * time.Second,
			headers: []string{"X-Shopify-Shop-Api-Call-Limit: "},
			body: `{"errors":[{"message":"${message}","extensions":{"code":"THROTTLED","documentation":"https://shopify.dev/api/usage/rate-limits"}}],` +
				`"extensions":{"cost":{"requestedQueryCost":${wait_points},"actualQueryCost":null,"throttleStatus":` +
				`{"maximumAvailable":${points_max}.0,"currentlyAvailable":0,"restoreRate":${points_per_second}.0}}}}`,
		},
		"rest-limit": shopifyError(http.StatusTooManyRequests,
			"Exceeded 2 calls per second for api client. Reduce request rates to resume uninterrupted service.").
			with(2*time.Second, "Retry-After: ${wait_seconds}.0", "X-Shopify-Shop-Api-Call-Limit: ${limit}/${limit}"),
		"max-cost": {
			message: "Query cost is 1500, which exceeds the single query max cost limit 1000.",
			body: `{"errors":[{"message":"${message}","extensions":{"code":"MAX_COST_EXCEEDED","cost":1500,"maxCost":1000,` +
				`"documentation":"https://shopify.dev/api/usage/rate-limits"}}]}`,
		},
		"access-denied": {
			message: "Access denied for product field.",
			body: `{"data":{"product":null},"errors":[{"message":"${message}","path":["product"],"extensions":{"code":"ACCESS_DENIED",` +
				`"documentation":"https://shopify.dev/api/usage/access-scopes"}}]}`,
		},
		"internal-error": {
			message: "Internal error. Looks like something went wrong on our end.",
			body:    `{"errors":[{"message":"${message}","extensions":{"code":"INTERNAL_SERVER_ERROR","requestId":"${id}"}}]}`,
		},
		"user-errors": {
			message: "Title can't be blank",
			body:    `{"data":{"productCreate":{"product":null,"userErrors":[{"field":["title"],"message":"${message}"}]}}}`,
		},
		"invalid-token": shopifyError(http.StatusUnauthorized, "[API] Invalid API key or access token (unrecognized login or wrong password)"),
		"shop-frozen":   shopifyError(http.StatusPaymentRequired, "This shop is currently frozen. The shop owner will need to pay the outstanding balance."),
		"forbidden":     shopifyError(http.StatusForbidden, "[API] This action requires merchant approval for a scope."),
		"not-found":     shopifyError(http.StatusNotFound, "Not Found"),
		"invalid":       shopifyError(http.StatusUnprocessableEntity, "The request was well-formed but could not be processed."),
		"locked":        shopifyError(http.StatusLocked, "This shop is unavailable"),
		"server-error":  shopifyError(http.StatusInternalServerError, "Internal Server Error"),
		"overloaded":    shopifyError(http.StatusServiceUnavailable, "Service Unavailable"),
	},
	overLimit: "throttled", outOfCredit: "shop-frozen", badToken: "invalid-token", expiredToken: "invalid-token",
	tokenHeader: "X-Shopify-Access-Token", tokenPath: "/admin/oauth/access_token",
	demo: apiDemo{
		script: `
shared * *  -> ok x20; throttled wait=2s x2; ok x20; overloaded x2; ok x20; server-error; ok x20; max-cost; ok x20; http:502; ok
`,
		quota: Quota{Calls: 60, Window: 4 * time.Second},
		calls: []DemoCall{{
			Method: http.MethodPost, Path: "/admin/api/2025-07/graphql.json",
			Body: `{"query":"query p($id: ID!) { product(id: $id) { id title } }","variables":{"id":"gid://shopify/Product/${row}"}}`,
		}},
	},
}

const shopifyObject = `{"product":{"id":1,"title":"${object}","created_at":"${made_iso}"}}`

func shopifyError(status int, message string) apiReply {
	return apiReply{status: status, message: message, body: `{"errors":"${message}"}`}
}
