package admin

import (
	"errors"
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
	"github.com/seed-2903acc3/callq/worker/circuit"
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
	return Config{
		Redis: rdb, Ledger: ledger.New(rdb), Circuits: circuit.NewStore(rdb, "test"), Client: client,
		Upstreams: []string{"sim"}, Loopback: true,
	}
}

func mini(t *testing.T) (Config, *miniredis.Miniredis) {
	t.Helper()
	client, server := redistest.Mini(t)
	return configOn(t, client), server
}

// ask sends a request as a program on this machine does; change may change it first.
func ask(t *testing.T, cfg Config, method, path string, change func(*http.Request)) (int, string, http.Header) {
	t.Helper()
	h, err := New(cfg)
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

func TestAnAddressForOtherMachinesNeedsAToken(t *testing.T) {
	cfg, _ := mini(t)
	cfg.Loopback = false
	if _, err := New(cfg); err == nil {
		t.Fatal("New accepted an address for other machines without a token")
	}
	value := "first"
	cfg.Tokens = []Token{
		{Name: "broken", Read: func() (string, error) { return "x", errors.New("no such file") }},
		{Name: "empty", Read: func() (string, error) { return "", nil }},
		{Name: "ops", Read: func() (string, error) { return value, nil }},
		{Name: "another", Read: func() (string, error) { return "another", nil }},
	}
	with := func(header string) func(*http.Request) {
		return func(r *http.Request) {
			r.Host = "callq.internal"
			if header != "" {
				r.Header.Set("Authorization", header)
			}
		}
	}
	for _, path := range []string{"/", "/asynqmon/", "/asynqmon/api/queues", "/nothing", "/asynqmon"} {
		for _, header := range []string{"", "Bearer ", "Bearer", "Bearer wrong", "Bearer x", "Basic first", "first"} {
			if got, _, h := ask(t, cfg, "GET", path, with(header)); got != http.StatusUnauthorized || h.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: got %d, want 401", path, header, got)
			}
		}
		for _, token := range []string{"first", "another"} {
			if got, _, _ := ask(t, cfg, "GET", path, with("Bearer "+token)); got == http.StatusUnauthorized {
				t.Errorf("%s with the token %s: got %d", path, token, got)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got, _, _ := ask(t, cfg, "GET", path, with("")); got != http.StatusOK {
			t.Errorf("%s: got %d, want 200", path, got)
		}
	}
	value = "second"
	if got, _, _ := ask(t, cfg, "GET", "/", with("Bearer first")); got != http.StatusUnauthorized {
		t.Errorf("the old value of a token that was changed: got %d, want 401", got)
	}
	if got, body, _ := ask(t, cfg, "POST", "/asynqmon/api/queues/sim:pause", with("Bearer second")); got != http.StatusMethodNotAllowed {
		t.Errorf("pause a queue with a token: got %d %s, want 405", got, body)
	}
}

func TestConfiguredTokensAreRequiredOnLoopbackToo(t *testing.T) {
	cfg, _ := mini(t)
	cfg.Tokens = []Token{{Name: "ops", Read: func() (string, error) { return "secret", nil }}}
	for _, path := range []string{"/", "/asynqmon/", "/asynqmon/api/queues"} {
		if got, _, _ := ask(t, cfg, "GET", path, nil); got != http.StatusUnauthorized {
			t.Errorf("%s without a token: got %d", path, got)
		}
		with := func(r *http.Request) { r.Header.Set("Authorization", "Bearer secret") }
		if got, _, _ := ask(t, cfg, "GET", path, with); got != http.StatusOK {
			t.Errorf("%s with the token: got %d, want 200", path, got)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if got, _, _ := ask(t, cfg, "GET", path, nil); got != http.StatusOK {
			t.Errorf("%s without a token: got %d", path, got)
		}
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
		for _, want := range []string{"&lt;b&gt;bold", "open for 1h0m0s", "&lt;i&gt;because", "/asynqmon/", "/readyz"} {
			if !strings.Contains(body, want) {
				t.Errorf("%q is not on the page:\n%s", want, body)
			}
		}
		if strings.Contains(body, "<script") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
			t.Error("the page can run scripts")
		}
	})
}
