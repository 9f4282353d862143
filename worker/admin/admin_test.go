package admin

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/admin/access"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// configOn returns the configuration of a handler for a Redis, on a loopback address.
func configOn(t testing.TB, rdb redis.UniversalClient) Config {
	t.Helper()
	client, err := tasks.NewClient(rdb, tasks.ClientConfig{
		Explain:  policy.ExplainClass,
		Endpoint: func(_, method, path string) string { return method + " " + path },
	})
	if err != nil {
		t.Fatal(err)
	}
	producer, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	reader, err := overview.NewReader(overview.Config{Redis: rdb, Upstreams: []overview.ConfiguredUpstream{{Name: "sim", Concurrency: 4}}})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		Overview: reader,
		Redis:    rdb, Ledger: ledger.New(rdb), Circuits: circuit.NewStore(rdb, "test"), Client: client, Producer: producer,
		Upstreams: []string{"sim"}, Access: control(t, access.Config{Loopback: true}),
	}
}

func control(t testing.TB, cfg access.Config) *access.Control {
	t.Helper()
	c, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token returns a token whose value is its name.
func token(name string, role access.Role) access.Token {
	return access.Token{Name: name, Role: role, Read: func() (string, error) { return name, nil }}
}

func mini(t *testing.T) (Config, *miniredis.Miniredis) {
	t.Helper()
	client, server := redistest.Mini(t)
	return configOn(t, client), server
}

// ask sends a request as a program on this machine does; change may change it first.
func ask(t *testing.T, cfg Config, method, path string, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, "http://127.0.0.1:8080"+path, nil)
	if change != nil {
		change(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(body), w.Header()
}

func TestEveryRouteAnswersOnLoopback(t *testing.T) {
	cfg, _ := mini(t)
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/": 200, "/asynqmon/": 200, "/asynqmon/api/queues": 200, "/asynqmon/queues/sim": 200,
		"/asynqmon": 307, "/nothing": 404, "/asynqmon/../healthz": 307, "/asynqmon//api/queues": 307,
	} {
		if got, body, _ := ask(t, cfg, "GET", path, nil); got != want {
			t.Errorf("%s: got %d, want %d: %.200s", path, got, want, body)
		}
	}
}

func TestAProcessWithAWrongClockIsNotReady(t *testing.T) {
	cfg, server := mini(t)
	server.SetTime(time.Now().Add(10 * time.Minute))
	got, body, _ := ask(t, cfg, "GET", "/readyz", nil)
	if got != http.StatusServiceUnavailable || !strings.Contains(body, "this machine's clock and that of Redis are ") {
		t.Errorf("readyz with a wrong clock: got %d %s, want 503", got, body)
	}
}

func TestReadinessNeedsRedisAndHealthDoesNot(t *testing.T) {
	cfg, server := mini(t)
	server.SetError("ERR broken")
	if got, body, _ := ask(t, cfg, "GET", "/readyz", nil); got != http.StatusServiceUnavailable {
		t.Errorf("readyz without Redis: got %d %s, want 503", got, body)
	}
	if got, _, _ := ask(t, cfg, "GET", "/healthz", nil); got != http.StatusOK {
		t.Errorf("healthz without Redis: got %d, want 200", got)
	}
	if got, body, _ := ask(t, cfg, "GET", "/", nil); got != http.StatusServiceUnavailable || strings.Contains(body, "broken") {
		t.Errorf("the page without Redis: got %d %s, want 503 without Redis's error", got, body)
	}
}

func TestAPageOfAnotherSiteHasNoAccess(t *testing.T) {
	cfg, _ := mini(t)
	for host, want := range map[string]int{
		"localhost:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "127.1.2.3:80": 200,
		"evil.test": 403, "127.0.0.1.evil.test": 403, "localhost.evil.test:8080": 403, "": 403, "10.0.0.1": 403,
	} {
		if got, _, _ := ask(t, cfg, "GET", "/", func(r *http.Request) { r.Host = host }); got != want {
			t.Errorf("host %q: got %d, want %d", host, got, want)
		}
		for _, method := range []string{"POST", "DELETE"} {
			got, body, _ := ask(t, cfg, method, "/asynqmon/api/queues/sim:pause", func(r *http.Request) { r.Host = host })
			if refused := got == http.StatusForbidden && strings.Contains(body, "only this machine may use this address"); refused != (want == 403) {
				t.Errorf("%s for host %q: got %d %s", method, host, got, body)
			}
		}
	}
	for name, value := range map[string]string{"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"} {
		got, _, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:pause", func(r *http.Request) { r.Header.Set(name, value) })
		if got != http.StatusForbidden {
			t.Errorf("%s %s: got %d, want 403", name, value, got)
		}
	}
}

func TestThePageShowsBatchesAndCircuits(t *testing.T) {
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		cfg := configOn(t, rdb)
		submit(t, cfg, "<b>bold</b>", "k")
		err := cfg.Circuits.Open(t.Context(), circuit.Name{Upstream: "sim"}, 3600e9, "<i>because</i>", "me")
		if err != nil {
			t.Fatal(err)
		}
		_, body, header := ask(t, cfg, "GET", "/", nil)
		for _, want := range []string{"&lt;b&gt;bold", "The account is paused", "&lt;i&gt;because", "/asynqmon/", "/readyz"} {
			if !strings.Contains(body, want) {
				t.Errorf("%q is not on the page:\n%s", want, body)
			}
		}
		policy := header.Get("Content-Security-Policy")
		if strings.Contains(body, "<script>") || !strings.Contains(policy, "default-src 'none'; script-src 'self';") || strings.Contains(policy, "unsafe") {
			t.Errorf("the page can run other scripts than its own: %s", policy)
		}
	})
}
