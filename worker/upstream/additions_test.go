package upstream

import (
	"io"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// requestsAt starts a server and returns its URL and the requests that it receives.
func requestsAt(t *testing.T) (base string, seen chan *http.Request) {
	seen = make(chan *http.Request, 10)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		io.WriteString(w, "{}")
	})
	return s.URL, seen
}

func TestConfiguredHeadersAreSentUnlessTheCallSetsThem(t *testing.T) {
	base, seen := requestsAt(t)
	c := newClient(t, base, func(cfg *Config) {
		cfg.Headers = map[string]string{"accept": "application/json", "User-Agent": "mine/1", "Content-Type": "application/vnd.api+json", "X-Empty": ""}
		cfg.Auth = Header("X-Key", StaticSecret("0123456789"))
	})
	tests := []struct {
		name string
		call Request
		want map[string]string
	}{
		{
			"a call without headers", Request{Path: "/"},
			map[string]string{"Accept": "application/json", "User-Agent": "mine/1", "Content-Type": "", "X-Key": "0123456789"},
		},
		{
			"a call with its own", Request{Path: "/", Header: http.Header{"Accept": {"text/csv"}, "user-agent": {"its/1"}}},
			map[string]string{"Accept": "text/csv", "User-Agent": "its/1"},
		},
		{
			"a call with a body", Request{Method: "POST", Path: "/", Body: []byte("{}"), ContentType: "application/json"},
			map[string]string{"Content-Type": "application/vnd.api+json"},
		},
		{
			"a call with a body and its own type", Request{Method: "POST", Path: "/", Body: []byte("{}"), Header: http.Header{"Content-Type": {"text/plain"}}},
			map[string]string{"Content-Type": "text/plain"},
		},
	}
	for _, tt := range tests {
		if a := c.Do(within(t), tt.call); a.Err != nil {
			t.Fatalf("%s: %v", tt.name, a.Err)
		}
		got := <-seen
		for name, want := range tt.want {
			if values := got.Header.Values(name); len(values) > 1 || got.Header.Get(name) != want {
				t.Errorf("%s: %s is %q, want %q", tt.name, name, values, want)
			}
		}
		if _, there := got.Header["X-Empty"]; !there {
			t.Errorf("%s: the empty header was left out", tt.name)
		}
	}
}

func TestConfiguredParametersAreSentUnlessTheCallSetsThem(t *testing.T) {
	base, seen := requestsAt(t)
	c := newClient(t, base, func(cfg *Config) {
		cfg.Query = map[string]string{"mailto": "a@b.example", "filter[x]": "1 & 2", "size": "100"}
		cfg.Auth = Query("key", StaticSecret("0123456789"))
	})
	const all = "filter%5Bx%5D=1+%26+2&mailto=a%40b.example&size=100&key=0123456789"
	for _, tt := range []struct {
		call Request
		want string
	}{
		{Request{Path: "/"}, all},
		{Request{Path: "/?q=1"}, "q=1&" + all},
		{Request{Path: "/", RawQuery: "q=1"}, "q=1&" + all},
		{Request{Path: "/?mailto=c&size"}, "mailto=c&size&filter%5Bx%5D=1+%26+2&key=0123456789"},
		{Request{Path: "/?m%61ilto=c&filter%5bx%5d=&size=1"}, "m%61ilto=c&filter%5bx%5d=&size=1&key=0123456789"},
		{Request{Path: "/?SIZE=1"}, "SIZE=1&" + all}, // parameters differ by case
	} {
		if a := c.Do(within(t), tt.call); a.Err != nil {
			t.Fatal(a.Err)
		}
		if got := (<-seen).URL.RawQuery; got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.call, got, tt.want)
		}
	}
}

func TestReservedHeadersAndParametersAreRefusedInAConfig(t *testing.T) {
	key := Header("X-Key", StaticSecret("0123456789"))
	for want, change := range map[string]func(*Config){
		"headers.Host":            func(c *Config) { c.Headers = map[string]string{"Host": "a"} },
		"headers.content-length":  func(c *Config) { c.Headers = map[string]string{"content-length": "1"} },
		"headers.Authorization":   func(c *Config) { c.Headers = map[string]string{"Authorization": "a"} },
		"headers.Cookie":          func(c *Config) { c.Headers = map[string]string{"Cookie": "a"} },
		"headers.Accept-Encoding": func(c *Config) { c.Headers = map[string]string{"Accept-Encoding": "br"} },
		"headers.x-key":           func(c *Config) { c.Headers, c.Auth = map[string]string{"x-key": "a"}, key },
		"headers.X-Id":            func(c *Config) { c.Headers, c.IdempotencyHeader = map[string]string{"X-Id": "a"}, "X-Id" },
		"headers.Idempotency-Key": func(c *Config) { c.Headers = map[string]string{"Idempotency-Key": "a"} },
		"headers.X-A":             func(c *Config) { c.Headers = map[string]string{"X-A": "a\r\nb: c"} },
		`headers: "X A"`:          func(c *Config) { c.Headers = map[string]string{"X A": "a"} },
		"query.KEY": func(c *Config) {
			c.Query, c.Auth = map[string]string{"KEY": "a"}, Query("key", StaticSecret("0123456789"))
		},
		"query: has a parameter without a name": func(c *Config) { c.Query = map[string]string{"": "a"} },
		"keep_headers[0]: set-cookie":           func(c *Config) { c.KeepHeaders = []string{"set-cookie"} },
		`keep_headers[1]: "a b"`:                func(c *Config) { c.KeepHeaders = []string{"Link", "a b"} },
		"keep_headers: has 33 names":            func(c *Config) { c.KeepHeaders = make([]string, 33) },
	} {
		cfg := Config{Name: "api", BaseURL: "http://127.0.0.1:1"}
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestHeadersOfAnswersAreKeptByTheirConfiguredNames(t *testing.T) {
	const secret = "sk-0123456789-secret"
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Location", "/jobs/7?key="+secret)
		h.Add("Link", `</a>; rel="next"`)
		h.Add("Link", `</b>; rel="last"`)
		h.Set("X-Long", strings.Repeat("x", 10_000))
		h.Set("X-Other", "not asked for")
		h.Set("X-Empty", "")
		w.WriteHeader(201)
	})
	c := newClient(t, s.URL, func(cfg *Config) {
		cfg.KeepHeaders = []string{"location", "Link", "X-Long", "X-Empty", "X-Missing"}
		cfg.Auth = Bearer(StaticSecret(secret))
	})
	got := c.Do(within(t), Request{Method: "POST", Path: "/"}).Kept.Headers
	want := map[string]string{
		"location": "/jobs/7?key=" + redacted, "Link": `</a>; rel="next", </b>; rel="last"`, "X-Long": strings.Repeat("x", maxKept) + "…", "X-Empty": "",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %.300q, want %.300q", got, want)
	}
	if got := newClient(t, s.URL).Do(within(t), Request{Path: "/"}).Kept.Headers; got != nil {
		t.Errorf("got %q, want no headers without KeepHeaders", got)
	}
}
