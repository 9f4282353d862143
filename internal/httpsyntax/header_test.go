package httpsyntax_test

import (
	"testing"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

func TestHeadersOfTheWorkerAreReservedInAnyCase(t *testing.T) {
	for _, name := range []string{
		"authorization", "HOST", "Content-Length", "transfer-encoding", "Connection", "keep-alive", "TE", "te", "Trailer", "Upgrade",
		"Proxy-Authorization", "proxy-connection", "Proxy-", "accept-encoding", "cookie", "expect",
	} {
		if !httpsyntax.IsReserved(name) {
			t.Errorf("%s is not reserved", name)
		}
	}
	for _, name := range []string{"Accept", "Content-Type", "X-Authorization", "User-Agent", "Proxy", "X-Proxy-A", ""} {
		if httpsyntax.IsReserved(name) {
			t.Errorf("%s is reserved", name)
		}
	}
}
