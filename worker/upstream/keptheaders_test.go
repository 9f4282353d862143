package upstream

import (
	"net/http"
	"reflect"
	"testing"
	"time"
)

func TestTheHeadersForResultsAreKept(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Correlation-Id", "c-1")
		h.Set("Retry-After", "120")
		h.Add("RateLimit", `"a";r=0;t=36400`)
		h.Add("RateLimit", `"b";r=5;t=1`)
		h.Set("RateLimit-Policy", `"a";q=100`)
		h.Set("X-RateLimit-Reset", "1700000000")
		h.Set("X-Openapi-Amount", "0.05")
		h.Set("X-Bill", "7")
		h.Set("Content-Type", "application/json")
		w.Write([]byte(`{"status":true}`))
	})
	before := time.Now()
	a := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
	want := Kept{
		CorrelationID: "c-1", RetryAfter: "120", Amount: "0.05",
		RateLimit: map[string]string{
			"Ratelimit": `"a";r=0;t=36400, "b";r=5;t=1`, "Ratelimit-Policy": `"a";q=100`, "X-Ratelimit-Reset": "1700000000",
		},
	}
	if !reflect.DeepEqual(a.Kept, want) {
		t.Errorf("kept %+v", a.Kept)
	}
	if a.ContentType != "application/json" || a.Latency <= 0 || a.StartedAt.Before(before) || a.Outcome.ReceivedAt.Before(a.StartedAt) || a.Err != nil {
		t.Errorf("%+v", a)
	}
	billed := newClient(t, s.URL, func(cfg *Config) { cfg.CostHeader = "x-bill" })
	if a := billed.Do(within(t), Request{Path: "/"}); a.Kept.Amount != "7" {
		t.Errorf("kept %+v", a.Kept)
	}
}
