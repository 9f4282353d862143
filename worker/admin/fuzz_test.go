package admin

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// FuzzRequest sends arbitrary requests, as any client that reaches the address can.
func FuzzRequest(f *testing.F) {
	for _, path := range []string{
		"/", "/healthz", "/v1/batches/b", "/v1/openapi.json", "/v1/circuits/sim~GET~%2fx/open", "/asynqmon/api/queues", "/asynqmon/api/queues/sim", "/asynqmon/api/queues/sim:pause", "/asynqmon/api/queues/sim/pending_tasks/x", "/asynqmon/api/queues/sim/archived_tasks/x:run",
		"/asynqmon/api/queues/sim/pending_tasks:batch_delete", "/asynqmon/api/queues/sim/pending_tasks?page=-1&size=99999999999999999999", "/asynqmon/api/queues/%00%ff/active_tasks", "/asynqmon/../healthz",
		"/asynqmon/api/queues/a}b{/retry_tasks:batch_archive", "/asynqmon/%2e%2e/%2e%2e/etc/passwd", "/asynqmon/static/..%2f..%2fgo.mod",
	} {
		f.Add("GET", path, "127.0.0.1", "", "")
		f.Add("POST", path, "localhost:1", "", `{"task_ids":["x","\u0000","{sim}"]}`)
		f.Add("DELETE", path, "[::1]:8080", "Bearer x", `{"task_ids":[`)
	}
	f.Add("GET", "/", "evil.example", "Bearer \xff", "")
	client, _ := redistest.Mini(f)
	cfg := configOn(f, client)
	open, err := New(f.Context(), cfg)
	if err != nil {
		f.Fatal(err)
	}
	cfg.Access = control(f, access.Config{Tokens: []access.Token{token("the-token", access.Operator)}})
	closed, err := New(f.Context(), cfg)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, method, uri, host, authorization, body string) {
		target, err := url.ParseRequestURI(uri)
		if err != nil || method == "" || strings.ContainsAny(method, " \r\n\x00") {
			return // net/http's server refuses such a request
		}
		ask := func(h http.Handler) int {
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1/", strings.NewReader(body))
			r.Method, r.URL, r.RequestURI, r.Host = method, target, uri, host
			r.Header.Set("Authorization", authorization)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Content-Security-Policy") == "" {
				t.Errorf("%s %q: the response has no security headers: %v", method, uri, w.Header())
			}
			return w.Code
		}
		clean := path.Clean(target.Path) // an unclean path is redirected
		public := clean == "/healthz" || clean == "/readyz"
		local := strings.HasPrefix(host, "127.") || strings.HasPrefix(host, "[::1]") || strings.HasPrefix(strings.ToLower(host), "localhost") || strings.Trim(host, "[]:0") == "1"
		if code := ask(open); code < http.StatusBadRequest && !local && !public {
			t.Errorf("%s %q for host %q: got %d, want an error", method, uri, host, code)
		}
		public = public || clean == "/sign-in" || clean == "/sign-out"
		if code := ask(closed); code != http.StatusUnauthorized && code != http.StatusTooManyRequests && !strings.Contains(authorization, "the-token") && !public {
			t.Errorf("%s %q with %q: got %d, want 401 or 429", method, uri, authorization, code)
		}
	})
}
