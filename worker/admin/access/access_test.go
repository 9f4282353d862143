package access_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// server has a page, a route of the API and a change, and answers with who asks.
type server struct {
	t   *testing.T
	h   http.Handler
	now time.Time
	log bytes.Buffer
}

var routes = []access.Route{
	{Method: "GET", Pattern: "/healthz", Role: access.Public, Handler: http.HandlerFunc(who)},
	{Method: "GET", Pattern: "/{$}", Role: access.Viewer, Handler: http.HandlerFunc(who)},
	{Method: "GET", Pattern: "/v1/x", Role: access.Viewer, Handler: http.HandlerFunc(who)},
	{Method: "POST", Pattern: "/v1/x", Role: access.Producer, Handler: http.HandlerFunc(who)},
	{Method: "DELETE", Pattern: "/x", Role: access.Operator, Handler: http.HandlerFunc(who)},
}

func who(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s as %s", access.Who(r.Context()), access.RoleOf(r.Context()))
}

func serve(t *testing.T, cfg access.Config) *server {
	t.Helper()
	s := &server{t: t, now: time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)}
	cfg.Now = func() time.Time { return s.now }
	cfg.Logger = slog.New(slog.NewTextHandler(&s.log, nil))
	control, err := access.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.h = control.Handler(routes)
	return s
}

// token returns a token whose value is its name.
func token(name string, role access.Role) access.Token {
	return access.Token{Name: name, Role: role, Read: func() (string, error) { return name, nil }}
}

type change func(*http.Request)

func bearer(value string) change {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+value) }
}

func from(address string) change { return func(r *http.Request) { r.RemoteAddr = address } }

func header(name, value string) change { return func(r *http.Request) { r.Header.Set(name, value) } }

func cookie(c *http.Cookie) change { return func(r *http.Request) { r.AddCookie(c) } }

func (s *server) ask(method, path string, changes ...change) *httptest.ResponseRecorder {
	s.t.Helper()
	r := httptest.NewRequest(method, "http://callq.internal:8080"+path, nil)
	for _, c := range changes {
		c(r)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

func (s *server) want(w *httptest.ResponseRecorder, status int, text string) {
	s.t.Helper()
	if w.Code != status || !strings.Contains(w.Body.String(), text) {
		s.t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, status, text)
	}
}

// signIn sends the form of the sign-in page.
func (s *server) signIn(given, next string, changes ...change) *httptest.ResponseRecorder {
	s.t.Helper()
	form := url.Values{"token": {given}, "next": {next}}.Encode()
	r := httptest.NewRequest("POST", "http://callq.internal:8080/sign-in", strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, c := range changes {
		c(r)
	}
	w := httptest.NewRecorder()
	s.h.ServeHTTP(w, r)
	return w
}

func TestAnAddressForOtherMachinesNeedsATokenWithARole(t *testing.T) {
	for name, cfg := range map[string]access.Config{
		"no token":         {},
		"a token no role":  {Tokens: []access.Token{{Name: "x", Read: func() (string, error) { return "x", nil }}}},
		"an unknown role":  {Tokens: []access.Token{token("x", "root")}},
		"a token no name":  {Tokens: []access.Token{token("", access.Viewer)}},
		"a token no value": {Loopback: true, Tokens: []access.Token{{Name: "x", Role: access.Viewer}}},
	} {
		if _, err := access.New(cfg); err == nil {
			t.Errorf("%s: New has no error", name)
		}
	}
}

func TestATokenOpensWhatItsRoleAllows(t *testing.T) {
	value := "first"
	s := serve(t, access.Config{Tokens: []access.Token{
		{Name: "broken", Role: access.Operator, Read: func() (string, error) { return "x", errors.New("no such file") }},
		{Name: "empty", Role: access.Operator, Read: func() (string, error) { return "", nil }},
		{Name: "ops", Role: access.Operator, Read: func() (string, error) { return value, nil }},
		token("view", access.Viewer),
	}})
	s.want(s.ask("GET", "/healthz"), 200, "")
	s.want(s.ask("GET", "/v1/x", bearer("view")), 200, "view as viewer")
	s.want(s.ask("GET", "/v1/x", header("Authorization", "bearer  view ")), 200, "view as viewer")
	s.want(s.ask("POST", "/v1/x", bearer("view")), 403, `this needs the role producer, and the token \"view\" has the role viewer`)
	s.want(s.ask("DELETE", "/x", bearer("view")), 403, "this needs the role operator")
	s.want(s.ask("DELETE", "/x", bearer("first")), 200, "ops as operator")
	for i, given := range []string{"", "Bearer", "Bearer ", "Basic dmlldzp2aWV3", "view", "Bearer wrong", "Bearer x"} {
		w := s.ask("GET", "/v1/x", header("Authorization", given), from(fmt.Sprintf("10.0.0.%d:1", i)))
		s.want(w, 401, "the ")
		if w.Header().Get("WWW-Authenticate") != `Bearer realm="callq"` || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%q: got %v", given, w.Header())
		}
	}
	value = "second"
	s.want(s.ask("GET", "/", bearer("first")), 401, "the token is not one of admin.tokens")
	s.want(s.ask("GET", "/", bearer("second")), 200, "ops as operator")
	s.want(s.ask("GET", "/nothing"), 401, "")
	s.want(s.ask("GET", "/nothing", bearer("second")), 404, "there is no such page")
	s.want(s.ask("PATCH", "/v1/x", bearer("second")), 405, "use GET, HEAD, POST")
	if text := s.log.String(); strings.Contains(text, "first") || strings.Contains(text, "wrong\"") || strings.Contains(text, "second") {
		t.Errorf("a token is logged:\n%s", text)
	}
}

func TestWithoutTokensEverybodyOnThisMachineIsAnOperator(t *testing.T) {
	s := serve(t, access.Config{Loopback: true})
	local := func(host string) change { return func(r *http.Request) { r.Host = host } }
	s.want(s.ask("DELETE", "/x", local("127.0.0.1:8080")), 200, "this machine as operator")
	s.want(s.ask("GET", "/sign-in", local("localhost:8080")), 303, "")
	for host, want := range map[string]int{
		"localhost:8080": 200, "127.0.0.1": 200, "[::1]:8080": 200, "127.1.2.3:80": 200,
		"evil.test": 403, "127.0.0.1.evil.test": 403, "localhost.evil.test:8080": 403, "": 403, "10.0.0.1": 403,
	} {
		if got := s.ask("GET", "/", local(host)).Code; got != want {
			t.Errorf("host %q: got %d, want %d", host, got, want)
		}
	}
	s.want(s.ask("GET", "/healthz", local("any")), 200, "")
}

func TestAPageOfAnotherSiteChangesNothing(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	session := s.signIn("ops", "/").Result().Cookies()[0]
	for name, value := range map[string]string{"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"} {
		s.want(s.ask("POST", "/v1/x", cookie(session), header(name, value)), 403, "a page of another site")
		s.want(s.ask("GET", "/v1/x", cookie(session), header(name, value)), 200, "")
		if w := s.signIn("ops", "/", header(name, value)); w.Code != 403 {
			t.Errorf("sign in from another site: got %d", w.Code)
		}
	}
	s.want(s.ask("POST", "/v1/x", cookie(session), header("Origin", "http://callq.internal:8080")), 200, "")
}

func TestABrowserSignsInAndOut(t *testing.T) {
	value := "ops-value"
	s := serve(t, access.Config{Tokens: []access.Token{{Name: "ops", Role: access.Operator, Read: func() (string, error) { return value, nil }}}})
	html := header("Accept", "text/html,application/xhtml+xml")
	w := s.ask("GET", "/?a=b", html)
	if s.want(w, 303, ""); w.Header().Get("Location") != "/sign-in?next=%2F%3Fa%3Db" {
		t.Errorf("a browser goes to %s", w.Header().Get("Location"))
	}
	s.want(s.ask("GET", "/v1/x", html), 401, "")          // a program's route
	s.want(s.ask("GET", "/", html, bearer("x")), 401, "") // a program
	s.want(s.ask("DELETE", "/x", html), 401, "")          // no page
	page := s.ask("GET", "/sign-in?next=/%3Fa=b", html)
	s.want(page, 200, `<form method="post" action="/sign-in">`)
	s.want(page, 200, `name="next" value="/?a=b"`)
	if strings.Contains(page.Body.String(), "<script") || !strings.Contains(page.Header().Get("Content-Security-Policy"), "form-action 'self'") {
		t.Error("the page has a script, or its form cannot be sent")
	}
	s.want(s.signIn("", "/"), 401, "Write a token.")
	s.want(s.signIn("wrong", "/?a=b"), 401, "The token is not one of admin.tokens.")
	w = s.signIn(" ops-value ", "/?a=b")
	if s.want(w, 303, ""); w.Header().Get("Location") != "/?a=b" {
		t.Errorf("after signing in: %s", w.Header().Get("Location"))
	}
	session := w.Result().Cookies()[0]
	if !session.HttpOnly || session.SameSite != http.SameSiteStrictMode || session.Secure || session.MaxAge != 12*60*60 || session.Path != "/" || strings.Contains(session.Value, value) {
		t.Errorf("the cookie is %v", session)
	}
	s.want(s.ask("GET", "/", html, cookie(session)), 200, "ops as operator")
	s.want(s.ask("POST", "/v1/x", cookie(session)), 200, "ops as operator")
	s.want(s.ask("GET", "/sign-in", html, cookie(session)), 303, "")
	s.want(s.ask("GET", "/", cookie(session), bearer("wrong")), 401, "") // the header counts

	w = s.ask("POST", "/sign-out", cookie(session))
	if s.want(w, 303, ""); w.Header().Get("Location") != "/sign-in" || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("signing out: %v", w.Header())
	}
	s.want(s.ask("GET", "/v1/x", cookie(session)), 401, "")
	if strings.Contains(s.log.String(), value) {
		t.Error("the token is logged")
	}
}

func TestASessionEndsAfterTwelveHoursAndWhenItsTokenChanges(t *testing.T) {
	value := "one"
	s := serve(t, access.Config{Tokens: []access.Token{{Name: "ops", Role: access.Operator, Read: func() (string, error) { return value, nil }}}})
	session := s.signIn("one", "/").Result().Cookies()[0]
	s.now = s.now.Add(12*time.Hour - time.Second)
	s.want(s.ask("GET", "/v1/x", cookie(session)), 200, "")
	s.now = s.now.Add(time.Second)
	s.want(s.ask("GET", "/v1/x", cookie(session)), 401, "")
	session = s.signIn("one", "/").Result().Cookies()[0]
	s.want(s.ask("GET", "/v1/x", cookie(session)), 200, "")
	value = "two"
	s.want(s.ask("GET", "/v1/x", cookie(session)), 401, "")
	value = "one"
	s.want(s.ask("GET", "/v1/x", cookie(session)), 401, "") // it has ended
}

func TestASecureConnectionHasASecureCookie(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	h := httptest.NewTLSServer(s.h)
	defer h.Close()
	client := h.Client()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	w, err := client.PostForm(h.URL+"/sign-in", url.Values{"token": {"ops"}})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Body.Close()
	if len(w.Cookies()) != 1 || !w.Cookies()[0].Secure {
		t.Errorf("got %d, %v", w.StatusCode, w.Cookies())
	}
}

func TestSigningInLeadsToNoOtherSite(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	for _, next := range []string{"http://evil.test/", "//evil.test", `/\evil.test`, `\\evil.test`, "evil.test", "javascript:alert(1)", "", "/\t/evil.test", "https:evil.test"} {
		if w := s.signIn("ops", next); w.Code != 303 || w.Header().Get("Location") != "/" {
			t.Errorf("next %q: got %d, %s", next, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestTheOldestOfTooManySessionsEnds(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	var sessions []*http.Cookie
	for range 1001 {
		s.now = s.now.Add(time.Second)
		sessions = append(sessions, s.signIn("ops", "/").Result().Cookies()[0])
	}
	s.want(s.ask("GET", "/v1/x", cookie(sessions[0])), 401, "")
	s.want(s.ask("GET", "/v1/x", cookie(sessions[1])), 200, "")
	s.want(s.ask("GET", "/v1/x", cookie(sessions[1000])), 200, "")
}

func TestWrongTokensOfAnAddressAreLimited(t *testing.T) {
	for name, c := range map[string]struct{ first, same, other string }{
		"IPv4":           {"10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1"},
		"IPv6":           {"[2001:db8:1:2::1]:1", "[2001:db8:1:2:ffff::9]:2", "[2001:db8:1:3::1]:1"},
		"IPv4 over IPv6": {"[::ffff:10.0.0.1]:1", "10.0.0.1:2", "[::ffff:10.0.0.2]:1"},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			s := serve(t, access.Config{Tokens: []access.Token{{Name: "ops", Role: access.Operator, Read: func() (string, error) { reads++; return "ops", nil }}}})
			s.want(s.ask("GET", "/v1/x", bearer("ops"), from(c.same)), 200, "")
			for i := range 10 {
				s.want(s.ask("GET", "/v1/x", bearer(fmt.Sprintf("wrong-%d", i)), from(c.first)), 401, "")
			}
			reads = 0
			w := s.ask("GET", "/v1/x", bearer("wrong"), from(c.same))
			s.want(w, 429, "too many wrong tokens came from this address; try again in 6s")
			if w.Header().Get("Retry-After") != "6" || reads != 0 {
				t.Errorf("Retry-After %q; the tokens were read %d times, want 0", w.Header().Get("Retry-After"), reads)
			}
			if w := s.signIn("wrong", "/", from(c.first)); w.Code != 429 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "<form") {
				t.Errorf("on the sign-in page: got %d %v", w.Code, w.Header())
			}
			// X-Forwarded-For says what the client likes.
			s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(c.first), header("X-Forwarded-For", "192.0.2.9")), 429, "")
			s.want(s.ask("GET", "/v1/x", bearer("ops"), from(c.same)), 200, "")    // it was right lately
			s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(c.other)), 401, "") // another address
			s.want(s.ask("GET", "/healthz", bearer("wrong"), from(c.first)), 200, "")
			s.now = s.now.Add(6 * time.Second)
			s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(c.first)), 401, "")
			s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(c.first)), 429, "")
			s.now = s.now.Add(2 * time.Hour)
			for range 10 {
				s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(c.first)), 401, "")
			}
			s.want(s.ask("GET", "/v1/x", bearer("ops"), from(c.first)), 429, "") // it was right long ago
			if text := s.log.String(); !strings.Contains(text, "a request to the admin address has a wrong token") || strings.Contains(text, "wrong-0") || !strings.Contains(text, "address=") {
				t.Errorf("the log has\n%s", text)
			}
		})
	}
}

func TestAWrongTokenIsNoLongerRightAfterItsChange(t *testing.T) {
	value := "one"
	s := serve(t, access.Config{Tokens: []access.Token{{Name: "ops", Role: access.Operator, Read: func() (string, error) { return value, nil }}}})
	s.want(s.ask("GET", "/v1/x", bearer("one")), 200, "")
	value = "two"
	for range 10 {
		s.want(s.ask("GET", "/v1/x", bearer("one")), 401, "")
	}
	s.want(s.ask("GET", "/v1/x", bearer("one")), 429, "")
}

func TestFewLinesAreLoggedAboutManyWrongTokens(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	for i := range 5000 { // more addresses than are kept
		s.want(s.ask("GET", "/v1/x", bearer("wrong"), from(fmt.Sprintf("10.1.%d.%d:1", i/256, i%256))), 401, "")
	}
	s.now = s.now.Add(10 * time.Second)
	s.ask("GET", "/v1/x", bearer("wrong"))
	if lines := strings.Count(s.log.String(), "\n"); lines != 11 || !strings.Contains(s.log.String(), "others_not_logged=4990") {
		t.Errorf("%d lines:\n%s", lines, s.log.String())
	}
}

func TestManyTriesAtOnceAreNoMoreThanOneAfterTheOther(t *testing.T) {
	s := serve(t, access.Config{Tokens: []access.Token{token("ops", access.Operator)}})
	var wg sync.WaitGroup
	var mu sync.Mutex
	compared := 0
	for range 100 {
		wg.Go(func() {
			if s.ask("GET", "/v1/x", bearer("wrong")).Code == http.StatusUnauthorized {
				mu.Lock()
				compared++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if compared != 10 {
		t.Errorf("%d tokens were compared, want 10", compared)
	}
}
