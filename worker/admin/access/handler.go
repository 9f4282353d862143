package access

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/seed-2903acc3/callq/worker/admin/problem"
)

// forPrograms reports whether a path is of the routes for programs, whose errors are problem
// documents.
func forPrograms(path string) bool { return path == "/v1" || strings.HasPrefix(path, "/v1/") }

// Handler returns a handler for a table of routes and for those of [Control.Routes]. It
// panics if two rows conflict, as [http.ServeMux] does.
func (c *Control) Handler(routes []Route) http.Handler {
	t := &table{control: c, mux: http.NewServeMux(), roles: map[string]Role{}}
	for _, r := range append(c.Routes(), routes...) {
		t.mux.Handle(r.pattern(), r.Handler)
		t.roles[r.pattern()] = r.Role
	}
	// The browser says from which site a request comes.
	t.sameOrigin = http.NewCrossOriginProtection()
	return t
}

// table is the handler for a table of routes.
type table struct {
	control    *Control
	mux        *http.ServeMux
	roles      map[string]Role // by the pattern of the mux
	sameOrigin *http.CrossOriginProtection
}

// ServeHTTP checks the access and serves the request.
func (t *table) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	handler, pattern := t.mux.Handler(r)
	need, known := t.roles[pattern]
	if !known {
		need = Viewer // who has no access does not learn which routes there are
	}
	if health(r.URL.Path) && known {
		t.mux.ServeHTTP(w, r)
		return
	}
	if t.control.loopback && !localHost(r.Host) {
		// A page of another site can make its own name resolve to 127.0.0.1 (DNS
		// rebinding); the browser then sends that name as the host.
		refuse(w, r, http.StatusForbidden, "only this machine may use this address: call it 127.0.0.1 or localhost")
		return
	}
	if err := t.sameOrigin.Check(r); err != nil {
		refuse(w, r, http.StatusForbidden, "the request comes from a page of another site, which may not change anything here")
		return
	}
	if need != Public {
		who, refused := t.control.identify(r)
		if refused != nil {
			t.turnAway(w, r, refused)
			return
		}
		if !who.role.Includes(need) {
			refuse(w, r, http.StatusForbidden, fmt.Sprintf("this needs the role %s, and the token %q has the role %s", need, who.name, who.role))
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, who))
	}
	if !known {
		unknown(w, r, handler)
		return
	}
	t.mux.ServeHTTP(w, r)
}

// health reports whether a path is one that other machines' checks ask for by any name.
func health(path string) bool { return path == "/healthz" || path == "/readyz" }

// turnAway answers a request without a right token. A browser goes to the page where it can
// sign in.
func (t *table) turnAway(w http.ResponseWriter, r *http.Request, refused *refusedError) {
	if refused.status == http.StatusUnauthorized {
		if browses(r) {
			http.Redirect(w, r, "/sign-in?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="callq"`)
	}
	retryAfter(w, refused)
	refuse(w, r, refused.status, refused.text)
}

// retryAfter says when to try again.
func retryAfter(w http.ResponseWriter, refused *refusedError) {
	if refused.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(refused.retryAfter.Seconds()))))
	}
}

// browses reports whether a person asks for a page with a browser.
func browses(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.Header.Get("Authorization") == "" &&
		!forPrograms(r.URL.Path) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

// unknown answers a request for a route that does not exist. handler is what the mux
// answers.
func unknown(w http.ResponseWriter, r *http.Request, handler http.Handler) {
	answer := &recorder{header: http.Header{}}
	handler.ServeHTTP(answer, r)
	if allow := answer.header.Get("Allow"); answer.status == http.StatusMethodNotAllowed && allow != "" {
		w.Header().Set("Allow", allow)
		refuse(w, r, http.StatusMethodNotAllowed, fmt.Sprintf("%s cannot be used with %s; use %s", r.URL.Path, r.Method, allow))
		return
	}
	text := "there is no such page"
	if forPrograms(r.URL.Path) {
		text = fmt.Sprintf("there is no route %s; GET /v1/openapi.json describes all of them. In a path, write / in a name as %%2F", r.URL.Path)
	}
	refuse(w, r, http.StatusNotFound, text)
}

// recorder records the status and the header of an answer.
type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(b []byte) (int, error) { return len(b), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }

// refuse answers with an error: a problem document for the routes of programs, otherwise
// text.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	if forPrograms(r.URL.Path) {
		problem.Write(w, problem.New(status, text))
		return
	}
	http.Error(w, text, status)
}
