package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// A large result leaves Redis when the results file has it on disk: between the two is
// where a kill could lose one.
func TestAKilledRunLosesNoLargeAnswer(t *testing.T) {
	t.Parallel()
	const lines, size = 60, 1 << 20
	server := redistest.Redis(t)
	var arrived atomic.Int64
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived.Add(1)
		_, _ = io.WriteString(w, `{"status":true,"error_code":0,"data":["`+r.URL.Path+`","`+strings.Repeat("x", size)+`"]}`)
	}))
	t.Cleanup(api.Close)
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {api: {base_url: %q, policy: patsnap, concurrency: 4}}\n", server.URL, api.URL))
	var calls strings.Builder
	for i := range lines {
		fmt.Fprintf(&calls, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
	}
	h.write("calls.jsonl", calls.String())
	for _, arrivals := range []int64{lines / 3, 2 * lines / 3} {
		_, signal, end := h.start("run", "calls.jsonl", "-o", "out")
		await(t, "some calls", func() bool { return arrived.Load() >= arrivals })
		signal(syscall.SIGKILL)
		end()
	}
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	seen := map[string]bool{}
	for line := range strings.Lines(h.read("out")) {
		var r struct {
			Key, Path, State string
			Body             struct{ Data []string }
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if seen[r.Key] || r.State != "done" || len(r.Body.Data) != 2 || r.Body.Data[0] != r.Path || len(r.Body.Data[1]) != size {
			t.Errorf("%s is %s, has a result already: %t, and its body has %d texts", r.Key, r.State, seen[r.Key], len(r.Body.Data))
		}
		seen[r.Key] = true
	}
	if len(seen) != lines {
		t.Errorf("%d of %d calls have results", len(seen), lines)
	}
	if kept := server.Client.Get(t.Context(), "callq:{api}:bodies").Val(); kept != "" {
		t.Errorf("%s bytes of results are in Redis still", kept)
	}
	h.callq(exitOK, "audit")

	// Without the results file the bodies are lost, and the run says so.
	_, errs := h.callq(exitOK, "run", "calls.jsonl", "-o", "again")
	if !strings.Contains(errs, "60 of the results have no body (body_freed)") || strings.Count(h.read("again"), `"body":null,"body_freed":true`) != lines {
		t.Errorf("results without a body are not reported:\n%s", errs)
	}
}
