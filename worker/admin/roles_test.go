package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/worker/admin/access"
)

// neededRoles has every route with the role that it needs. Whoever adds a route adds its
// role here, so that the role of a route is decided twice.
var neededRoles = map[string]access.Role{
	"GET /healthz":                   access.Public,
	"GET /readyz":                    access.Public,
	"GET /sign-in":                   access.Public,
	"POST /sign-in":                  access.Public,
	"POST /sign-out":                 access.Public,
	"GET /{$}":                       access.Viewer,
	"GET /assets/{file}":             access.Public,
	"GET /batches":                   access.Viewer,
	"GET /batches/{name}":            access.Viewer,
	"GET /dead":                      access.Viewer,
	"GET /dead/{group}":              access.Viewer,
	"GET /dead/{group}/redrive":      access.Viewer,
	"POST /dead/{group}/redrive":     access.Operator,
	"GET /calls/{id}":                access.Viewer,
	"POST /calls/{id}/redrive":       access.Operator,
	"POST /calls/{id}/cancel":        access.Operator,
	"GET /search":                    access.Viewer,
	"POST /circuits/close":           access.Operator,
	"GET /asynqmon/":                 access.Viewer,
	"POST /asynqmon/":                access.Operator,
	"DELETE /asynqmon/":              access.Operator,
	"GET /v1/batches/{name}":         access.Viewer,
	"GET /v1/openapi.json":           access.Viewer,
	"POST /v1/calls":                 access.Producer,
	"GET /v1/calls/{id}":             access.Viewer,
	"POST /v1/batches":               access.Producer,
	"GET /v1/batches":                access.Viewer,
	"GET /v1/batches/{name}/results": access.Viewer,
	"GET /v1/batches/{name}/events":  access.Viewer,
	"GET /v1/dead":                   access.Viewer,
	"GET /v1/dead/groups":            access.Viewer,
	"POST /v1/dead/redrive":          access.Operator,
	"GET /v1/circuits":               access.Viewer,
	"POST /v1/circuits/{name}/open":  access.Operator,
	"POST /v1/circuits/{name}/close": access.Operator,
	"POST /v1/circuits/{rest...}":    access.Operator,
}

func TestEveryRouteNeedsItsRole(t *testing.T) {
	cfg, _ := mini(t)
	one := submit(t, cfg, "b", "k")
	// Without an open call a stream of events ends at once.
	if _, err := cfg.Client.Cancel(t.Context(), one.ID, tasks.Cancellation{}); err != nil {
		t.Fatal(err)
	}
	cfg.Access = control(t, access.Config{Tokens: []access.Token{
		token("viewer", access.Viewer), token("producer", access.Producer), token("operator", access.Operator),
	}})
	routes, err := routesOf(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	routes = append(routes, cfg.Access.Routes()...)
	h, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.NewReplacer("{$}", "", "{name}", "b", "{id}", "x", "{group}", "x", "{file}", "app.css", "{rest...}", "a/b/open")
	asked := 0
	for _, r := range routes {
		name := r.Method + " " + r.Pattern
		need, ok := neededRoles[name]
		if !ok {
			t.Errorf("the route %s is not in neededRoles: which role does it need?", name)
			continue
		}
		for _, given := range []string{"", "wrong", "viewer", "producer", "operator"} {
			asked++
			req := httptest.NewRequest(r.Method, "http://callq.internal"+path.Replace(r.Pattern), nil)
			req.RemoteAddr = fmt.Sprintf("10.0.%d.%d:1", asked/256, asked%256) // wrong tokens are limited per address
			if given != "" {
				req.Header.Set("Authorization", "Bearer "+given)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, req)
			role := access.Role(given)
			switch {
			case need == access.Public:
				if w.Code == http.StatusForbidden || w.Code == http.StatusUnauthorized && !strings.HasPrefix(r.Pattern, "/sign-") {
					t.Errorf("%s with the token %q: got %d, want no token to be needed", name, given, w.Code)
				}
			case !role.Includes(access.Viewer):
				if w.Code != http.StatusUnauthorized || w.Header().Get("WWW-Authenticate") == "" {
					t.Errorf("%s with the token %q: got %d, want 401 with WWW-Authenticate", name, given, w.Code)
				}
			case !role.Includes(need):
				if w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "this needs the role "+string(need)) {
					t.Errorf("%s with the role %s: got %d %s, want 403 with the role", name, role, w.Code, w.Body)
				}
			case w.Code == http.StatusUnauthorized || w.Code == http.StatusForbidden:
				t.Errorf("%s with the role %s: got %d %s, want access", name, role, w.Code, w.Body)
			}
		}
	}
	if asked != 5*len(neededRoles) {
		t.Errorf("neededRoles has %d routes, the server has %d", len(neededRoles), asked/5)
	}
}
