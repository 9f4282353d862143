package policy

import (
	"net/http"
	"time"
)

// retryAfterFields are the fields that say how long to wait, by their canonical names.
// Their documents: Retry-After: RFC 9110, 10.2.3. Retry-After-Ms:
// https://learn.microsoft.com/azure/azure-app-configuration/rest-api-throttling.
// X-Ms-Retry-After-Ms: https://learn.microsoft.com/rest/api/cosmos-db/common-cosmosdb-rest-response-headers.
// X-Retry-After-Ms: https://github.com/Azure/azure-sdk-for-net/issues/6025.
// X-Ratelimit-Retry-After: https://developers-classic.mailerlite.com/docs/api-rate-limits.
var retryAfterFields = []struct {
	name   string
	number numberReader
}{
	{"Retry-After", secondsOrEpoch},
	{"Retry-After-Ms", millisOrEpoch},
	{"X-Ms-Retry-After-Ms", millisOrEpoch},
	{"X-Retry-After-Ms", millisOrEpoch},
	{"X-Ratelimit-Retry-After", secondsOrEpoch},
}

// RetryAfter returns how long the server asks to wait, counted from when its answer
// arrived. It reads Retry-After (RFC 9110, 10.2.3) and similar fields. Of several
// fields, lines and values the longest wait counts. A date is compared with the answer's
// own Date. The wait may be zero or negative, as the server said. ok is false if the
// header has no such field that can be read.
func RetryAfter(h http.Header, received time.Time) (wait time.Duration, ok bool) {
	given, ok := retryAfter(h, received)
	return given.Wait, ok
}

func retryAfter(h http.Header, received time.Time) (longest ServerTime, found bool) {
	var server time.Time
	for i := range retryAfterFields {
		field := &retryAfterFields[i]
		lines := h[field.name]
		if len(lines) == 0 {
			continue
		}
		if server.IsZero() {
			server = serverNow(h, received)
		}
		if wait, ok := longestWait(lines, server, field.number); ok && (!found || wait > longest.Wait) {
			longest, found = ServerTime{Source: SourceRetryAfter, Header: field.name, Value: joinLines(lines), Wait: wait}, true
		}
	}
	return longest, found
}
