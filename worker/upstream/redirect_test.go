package upstream

import (
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/seed-2903acc3/callq/policy"
)

func TestRedirectsWithinTheOriginAreFollowed(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		for _, status := range []int{301, 302, 303, 307, 308} {
			var hops atomic.Int32
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") != "Bearer sk-0123456789" || r.Method != method {
					t.Errorf("hop %d: %s with %q", hops.Load(), r.Method, r.Header.Get("Authorization"))
				}
				if n := hops.Add(1); n <= 5 {
					w.Header().Set("Location", fmt.Sprintf("/hop/%d?x=1#frag", n))
					w.WriteHeader(status)
					return
				}
				io.WriteString(w, `{"status":true}`)
			})
			c := newClient(t, s.URL, func(cfg *Config) {
				cfg.Auth = Bearer(StaticSecret("sk-0123456789"))
			})
			got := c.Do(within(t), Request{Method: method, Path: "/a"})
			if got.Outcome.Status != 200 || hops.Load() != 6 {
				t.Errorf("%s %d: %+v after %d requests (%v)", method, status, got.Outcome, hops.Load(), got.Err)
			}
		}
	}
}

func TestTheSixthRedirectEndsTheCall(t *testing.T) {
	var hops atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	got := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
	if got.Outcome.Transport != policy.TransportRedirect || hops.Load() != 6 {
		t.Errorf("%+v after %d requests", got.Outcome, hops.Load())
	}
}

// RFC 9110, 15.4: after a 307 or 308 the same request is sent to the new location.
func TestOnly307And308RedirectsSendTheBodyAgain(t *testing.T) {
	for status, want := range map[int]string{301: "", 302: "", 303: "", 307: `{"q":1}`, 308: `{"q":1}`} {
		arrived := make(chan string, 1)
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			if r.URL.Path == "/there" {
				arrived <- string(body)
				return
			}
			w.Header().Set("Location", "/there")
			w.WriteHeader(status)
		})
		newClient(t, s.URL).Do(within(t), Request{Method: "GET", Path: "/", Body: []byte(`{"q":1}`)})
		select {
		case got := <-arrived:
			if got != want {
				t.Errorf("%d: got body %q, want %q", status, got, want)
			}
		default:
			t.Errorf("%d: no request arrived after the redirect", status)
		}
	}
}

func TestARedirectToAnotherOriginIsNotFollowed(t *testing.T) {
	var reached atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { reached.Add(1) })
	for _, location := range []string{
		other.URL, "//" + strings.TrimPrefix(other.URL, "http://") + "/x", "https://127.0.0.1/", "http://user:pw@SELF/", "file:///etc/passwd",
		"\\\\evil.example", "http://[::1", "javascript:alert(1)",
	} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Location"] = []string{strings.ReplaceAll(location, "SELF", r.Host)}
			w.WriteHeader(http.StatusFound)
		})
		got := newClient(t, s.URL).Do(within(t), Request{Path: "/"})
		if got.Outcome.Transport != policy.TransportRedirect || got.Outcome.Status != 0 {
			t.Errorf("%s: %+v (%v)", location, got.Outcome, got.Err)
		}
		if got.Err != nil && strings.Contains(got.Err.Error(), "pw@") {
			t.Errorf("%s: %v", location, got.Err)
		}
	}
	if reached.Load() != 0 {
		t.Error("the other origin was called")
	}
}

func TestARedirectFromHTTPSToHTTPIsNotFollowed(t *testing.T) {
	secure, ca := tlsServer(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/", http.StatusMovedPermanently)
	})
	c := newClient(t, secure.URL, func(cfg *Config) { cfg.TLS.CA = ca })
	if got := c.Do(within(t), Request{Path: "/"}); got.Outcome.Transport != policy.TransportRedirect {
		t.Errorf("%+v (%v)", got.Outcome, got.Err)
	}
}

func TestARedirectOfAPOSTIsTheAnswer(t *testing.T) {
	var hops atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		hops.Add(1)
		http.Redirect(w, r, "https://elsewhere.invalid/", http.StatusTemporaryRedirect)
	})
	got := newClient(t, s.URL).Do(within(t), Request{Method: "POST", Path: "/", Body: []byte("x")})
	if got.Outcome.Status != 307 || hops.Load() != 1 {
		t.Errorf("%+v after %d requests (%v)", got.Outcome, hops.Load(), got.Err)
	}
}

func TestARedirectWithoutALocationIsTheAnswer(t *testing.T) {
	for _, status := range []int{300, 302, 304, 305} {
		s := serve(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(status) })
		if got := newClient(t, s.URL).Do(within(t), Request{Path: "/"}); got.Outcome.Status != status {
			t.Errorf("%d: %+v (%v)", status, got.Outcome, got.Err)
		}
	}
}

func TestAFailureOfALaterHopIsAfterTheSend(t *testing.T) {
	for in, want := range map[policy.Transport]policy.Transport{
		policy.TransportTimeoutBeforeSend: policy.TransportTimeoutAfterSend, policy.TransportResetBeforeSend: policy.TransportResetAfterSend,
		policy.TransportDial: policy.TransportResetAfterSend, policy.TransportDNS: policy.TransportResetAfterSend, policy.TransportTooLarge: policy.TransportTooLarge,
		policy.TransportTimeoutAfterSend: policy.TransportTimeoutAfterSend,
	} {
		if got := afterSend(in); got != want {
			t.Errorf("afterSend(%s) = %s, want %s", in, got, want)
		}
	}
}

// FuzzRedirect tries redirects to any location: a call must not leave its origin.
func FuzzRedirect(f *testing.F) {
	for _, s := range []string{
		"/b", "b?c#d", "//evil.example/", "https://api.example:443/x", "https://API.EXAMPLE/x", "http://api.example/", "https://user@api.example/", "https:evil.example", "https:///evil.example",
		"\\\\evil.example", "/\\evil.example", "https://api.example@evil.example/", "https://api.example%2eevil.example/", "https://api.example:0443/", "javascript:alert(1)", "https://[::1]/", "\t//evil", "?", "",
		"https://api.example\x00.evil.example/", "..//evil.example", "https://api.example.:443/",
	} {
		f.Add(s)
	}
	from, err := url.Parse("https://api.example/v2/a?b=c")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, location string) {
		resp := &http.Response{StatusCode: http.StatusFound, Header: http.Header{"Location": {location}}}
		next, failure := redirect(http.MethodGet, resp, from)
		if failure != nil || next == nil {
			return
		}
		if next.Scheme != "https" || !strings.EqualFold(next.Hostname(), "api.example") || portOf(next) != "443" || next.User != nil {
			t.Fatalf("%q leads to %q", location, next)
		}
		req := newRequest(t.Context(), &prepared{method: http.MethodGet, header: http.Header{}}, next, nil)
		if host, _, _ := strings.Cut(strings.ToLower(req.Host), ":"); host != "api.example" {
			t.Fatalf("%q: the request goes to host %q", location, req.Host)
		}
		if uri := next.RequestURI(); strings.ContainsAny(uri, " \r\n\t\x00") {
			t.Fatalf("%q makes the request line %q", location, uri)
		}
	})
}
