package policy

import (
	"net/http"
	"time"
)

// retryAfterFields are the fields that say for how long to stay away, by their
// canonical names. Their documents: Retry-After: RFC 9110, 10.2.3. Retry-After-Ms:
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

// RetryAfter reads how long after an answer arrived its server wants to be left
// alone, from Retry-After (RFC 9110, 10.2.3) and its kin. Of several fields, lines
// and values the longest wait counts. A date is measured against the answer's own
// Date. The wait may be zero or negative, as the server said; ok is false where
// the server said nothing that can be read.
func RetryAfter(h http.Header, received time.Time) (wait time.Duration, ok bool) {
	told, ok := retryAfter(h, received)
	return told.Wait, ok
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
