package main

import (
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// scrape gets the metrics of an admin address.
func scrape(t *testing.T, url, token string) (status int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestAWorkerAndAnAdminServerAnswerScrapes(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	h := newHome(t, "")
	_, api := simulate(t, simapi.Config{})
	h.env = append(h.env, "CALLQ_REDIS="+server.URL)
	h.write("callq.yaml", fmt.Sprintf(`upstreams: {sim: {base_url: %q, policy: patsnap, limits: ["1000/s"], budget: ["20 calls/day"]}}
admin: {tokens: [{name: prometheus, role: viewer, token: a-token-for-tests}]}
`, api))
	h.write("calls.jsonl", "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n")

	admin, _, _ := h.start("admin", "--listen", "127.0.0.1:0")
	work, stop, end := h.start("work", "--listen", "127.0.0.1:0")
	address := regexp.MustCompile(`admin=(http://127\.0\.0\.1:\d+/)`)
	urlOf := func(log fmt.Stringer) (url string) {
		await(t, "the admin address", func() bool {
			if found := address.FindStringSubmatch(log.String()); found != nil {
				url = found[1]
			}
			return url != ""
		})
		return url
	}
	adminURL, workURL := urlOf(admin), urlOf(work)
	if status, _ := scrape(t, workURL, ""); status != http.StatusUnauthorized {
		t.Errorf("without a token the status is %d", status)
	}
	h.callq(exitOK, "send", "calls.jsonl", "--wait")

	await(t, "the metrics of the worker", func() bool {
		_, text := scrape(t, workURL, "a-token-for-tests")
		return strings.Contains(text, `callq_calls_total{class="ok",state="done",upstream="sim"} 2`) &&
			strings.Contains(text, `callq_budget_spent{unit="calls",upstream="sim"} 2`)
	})
	_, text := scrape(t, adminURL, "a-token-for-tests")
	for _, want := range []string{"callq_redis_up 1", "callq_build_info{goversion=", `callq_runnable_calls{upstream="sim"} 0`, `callq_limit_used_ratio{limit="1000/s",upstream="sim"}`} {
		if !strings.Contains(text, want) {
			t.Errorf("the admin server does not show %s:\n%s", want, text)
		}
	}
	if strings.Contains(text, "callq_calls_total") {
		t.Errorf("the admin server makes no calls, and shows:\n%s", text)
	}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "callq_") {
			t.Errorf("a metric of another name: %s", line)
		}
	}

	server.Pause() // it accepts connections, and never answers
	await(t, "Redis to be away", func() bool {
		began := time.Now()
		status, text := scrape(t, adminURL, "a-token-for-tests")
		if took := time.Since(began); status != http.StatusOK || took > 4*time.Second { // 1.5 s, and what a busy machine adds
			t.Fatalf("status %d after %s", status, took)
		}
		return strings.Contains(text, "callq_redis_up 0") && !strings.Contains(text, "callq_inflight")
	})
	server.Resume()
	stop(syscall.SIGTERM)
	end()
}
