package upstream

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestACallCannotLeaveItsUpstream(t *testing.T) {
	c := newClient(t, "https://api.example/v2")
	for _, path := range []string{
		"", "x", "//evil.example/x", "///x", "http://evil.example/", "https:/x", "@evil.example/", ":80/", "\\\\evil.example",
		"/\\evil.example", "/a/../b", "/..", "/a/..", "/%2e%2e/x", "/.%2E/x", "/a%2f..%2fb", "/a%2F%2e%2e", "/%5c..%5cx",
		"/..%5cx", "/%252e%252e/x", "/%25252e./x", "/..;a=b/x", "/a/..;/b", "/a\r\nHost: evil", "/a\x00", "/a\x7f", "/%0d%0aX: y",
		"/%00", "/100%", "/%zz", "/a#b", "/a\\b", "/" + strings.Repeat("%25", 40) + "41%" + strings.Repeat("25", 40) + "2e",
	} {
		if p, err := c.prepare(Request{Path: path}); !errors.Is(err, ErrRefused) {
			t.Errorf("path %q: err %v, url %v", path, err, p)
		}
		if got := c.Do(within(t), Request{Path: path}); !got.NotSent || !errors.Is(got.Err, ErrRefused) {
			t.Errorf("path %q: NotSent %v, err %v", path, got.NotSent, got.Err)
		}
	}
}

func TestAPathIsEncodedAndAppendedToTheBaseURL(t *testing.T) {
	tests := []struct {
		base string
		req  Request
		want string
	}{
		{"https://h", Request{Path: "/"}, "https://h/"},
		{"https://h/", Request{Path: "/a/b"}, "https://h/a/b"},
		{"https://h/v2/", Request{Path: "/a"}, "https://h/v2/a"},
		{"https://h/v%2F2", Request{Path: "/a"}, "https://h/v%2F2/a"},
		{"https://h:8443", Request{Path: "/a//b"}, "https://h:8443/a//b"},
		{"https://h", Request{Path: "/patent/10.1000%2F182"}, "https://h/patent/10.1000%2F182"},
		{"https://h", Request{Path: "/a b/\u592a\u967d"}, "https://h/a%20b/%E5%A4%AA%E9%99%BD"},
		{"https://h", Request{Path: "/a:b@c/...x/..y"}, "https://h/a:b@c/...x/..y"},
		{"https://h", Request{Path: "/50%25"}, "https://h/50%25"},
		{"https://h", Request{Path: "/s?q=1&r=a/../b"}, "https://h/s?q=1&r=a/../b"},
		{"https://h", Request{Path: "/s?q=solar cell"}, "https://h/s?q=solar%20cell"},
		{"https://h", Request{Path: "/s?q=1", RawQuery: "r=2", Query: url.Values{"s": {"a b", "&"}}}, "https://h/s?q=1&r=2&s=a+b&s=%26"},
	}
	for _, tt := range tests {
		p, err := newClient(t, tt.base).prepare(tt.req)
		if err != nil {
			t.Errorf("%+v: %v", tt.req, err)
		} else if got := p.url.String(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.req, got, tt.want)
		}
	}
}

func TestNoRandomPathLeavesTheBaseURL(t *testing.T) {
	c := newClient(t, "https://api.example:8443/v2")
	piece := rapid.SampledFrom([]string{
		"/", "//", "..", ".", "%2e", "%2f", "%5c", "%25", "\\", "@", ":", "?", "#", ";", "evil.example", "http:", "\r", "\n", "\x00", " ", "a", "\u00e9", "%",
	})
	rapid.Check(t, func(t *rapid.T) {
		path := strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "path"), "")
		if rapid.Bool().Draw(t, "rooted") {
			path = "/" + path
		}
		p, err := c.prepare(Request{Path: path})
		if err != nil {
			if !errors.Is(err, ErrRefused) {
				t.Fatalf("%q: %v", path, err)
			}
			return
		}
		req := newRequest(t.Context(), p, &p.url, nil)
		uri := req.URL.RequestURI()
		if req.Host != "api.example:8443" || req.URL.Host != req.Host || req.URL.Scheme != "https" || !strings.HasPrefix(uri, "/v2/") {
			t.Fatalf("%q went to %s, %s", path, req.Host, uri)
		}
		ref, err := url.Parse("https://api.example:8443/v2/")
		if err != nil {
			t.Fatal(err)
		}
		if resolved, err := ref.Parse(uri); err != nil || !strings.HasPrefix(resolved.Path, "/v2/") || resolved.Host != ref.Host {
			t.Fatalf("%q resolves to %v (%v)", path, resolved, err)
		}
	})
}

func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/a?b=c", "//h", "/%2e%2e/", "/a\r\nb", "/%25%32%65", "/..;/", "/?#", "/\xff"} {
		f.Add(s, "q=1")
	}
	c := newClient(f, "https://api.example/v2")
	f.Fuzz(func(t *testing.T, path, query string) {
		p, err := c.prepare(Request{Path: path, RawQuery: query})
		if err != nil {
			return
		}
		again, err := url.Parse(p.url.String())
		if err != nil || again.Host != "api.example" || !strings.HasPrefix(again.EscapedPath(), "/v2/") {
			t.Fatalf("%q %q: %v, %v", path, query, again, err)
		}
		if uri := p.url.RequestURI(); strings.ContainsAny(uri, " \r\n\t\x00") {
			t.Fatalf("%q %q: request line %q", path, query, uri)
		}
	})
}

func TestReservedHeadersAndInvalidValuesAreRefusedInACall(t *testing.T) {
	c := newClient(t, "https://api.example", func(cfg *Config) {
		cfg.Auth = Header("X-Api-Key", StaticSecret("sk-0123456789"))
	})
	for _, name := range []string{
		"Authorization", "authorization", "Host", "Content-Length", "content-length", "Transfer-Encoding", "Connection", "Keep-Alive",
		"Proxy-Authorization", "Proxy-Connection", "TE", "Trailer", "Upgrade", "Expect", "Cookie", "Accept-Encoding", "X-Api-Key", "x-api-key",
		"", "a b", "a:b", "Authorization ", "a\r\nb", "\u00e9",
	} {
		if _, err := c.prepare(Request{Path: "/", Header: http.Header{name: {"v"}}}); !errors.Is(err, ErrRefused) {
			t.Errorf("header %q: %v", name, err)
		}
	}
	for _, value := range []string{"a\r\nX: y", "a\nb", "a\x00b", "\x7f"} {
		for what, r := range map[string]Request{
			"header":       {Path: "/", Header: http.Header{"X-A": {value}}},
			"content type": {Path: "/", ContentType: value, Body: []byte("x")},
		} {
			if _, err := c.prepare(r); !errors.Is(err, ErrRefused) {
				t.Errorf("%s %q: %v", what, value, err)
			}
		}
	}
	for _, method := range []string{"CONNECT", "TRACE", "connect", "GET /", "G\r\n"} {
		if _, err := c.prepare(Request{Method: method, Path: "/"}); !errors.Is(err, ErrRefused) {
			t.Errorf("method %q: %v", method, err)
		}
	}
}

func TestACallThatSetsTheCredentialsParameterIsRefused(t *testing.T) {
	c := newClient(t, "https://api.example", func(cfg *Config) {
		cfg.Auth = Query("apikey", StaticSecret("sk-0123456789"))
	})
	for _, r := range []Request{
		{Path: "/?apikey=x"}, {Path: "/?a=b&%61pikey=x"}, {Path: "/", RawQuery: "a;ApiKey=x"}, {Path: "/", Query: url.Values{"apikey": {""}}},
	} {
		if _, err := c.prepare(r); !errors.Is(err, ErrRefused) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	if _, err := c.prepare(Request{Path: "/?myapikey=x"}); err != nil {
		t.Error(err)
	}
}

func TestARequestIsSentAsTheCallerGaveIt(t *testing.T) {
	var (
		got  *http.Request
		body []byte
	)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	})
	c := newClient(t, s.URL, func(cfg *Config) { cfg.IdempotencyHeader = "X-Once" })
	c.Do(within(t), Request{
		Method: "post", Path: "/p", Body: []byte(`{"a":1}`), ContentType: "application/json", IdempotencyKey: "key-1",
		Header: http.Header{"X-Custom": {"one", "two"}, "accept": {"text/csv"}},
	})
	want := map[string]string{
		"Content-Type": "application/json", "X-Once": "key-1", "User-Agent": "callq", "Accept-Encoding": "gzip", "Accept": "text/csv",
	}
	for name, v := range want {
		if got.Header.Get(name) != v {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), v)
		}
	}
	if got.Method != "POST" || string(body) != `{"a":1}` || got.ContentLength != 7 || len(got.Header["X-Custom"]) != 2 {
		t.Errorf("%s %q, length %d, header %v", got.Method, body, got.ContentLength, got.Header)
	}
	c.Do(within(t), Request{Path: "/", IdempotencyKey: "key-2", Header: http.Header{"X-Once": {"mine"}, "User-Agent": {"me"}}})
	if v := got.Header.Values("X-Once"); len(v) != 1 || v[0] != "mine" || got.Header.Get("User-Agent") != "me" {
		t.Errorf("header %v", got.Header)
	}
}
