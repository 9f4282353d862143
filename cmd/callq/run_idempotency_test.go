package main

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

func TestACallsOwnIdempotencyKeyIsSentWithEveryAttempt(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	keys := map[string][]string{}
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		keys[r.URL.Path] = append(keys[r.URL.Path], r.Header.Get("Idempotency-Key"))
		if len(keys[r.URL.Path]) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(`{"status":true,"error_code":0,"data":{}}`))
	}))
	t.Cleanup(api.Close)
	h := newHome(t, filepath.Dir(program(t)))
	h.write("quick.yaml", quick)
	h.write("callq.yaml", "upstreams: {api: {base_url: \""+api.URL+"\", policy: ./quick.yaml, idempotency_header: Idempotency-Key}}\n")
	h.write("calls.jsonl", `{"key":"a","method":"POST","path":"/own","headers":{"Idempotency-Key":"order-17"}}
{"key":"b","method":"POST","path":"/made"}
`)
	h.callq(exitOK, "run", "calls.jsonl")
	mu.Lock()
	defer mu.Unlock()
	if own := keys["/own"]; !slices.Equal(own, []string{"order-17", "order-17"}) {
		t.Errorf("the call's own key: %q", own)
	}
	if made := keys["/made"]; len(made) != 2 || made[0] == "" || made[0] != made[1] {
		t.Errorf("the key of a call without one: %q", made)
	}
}
