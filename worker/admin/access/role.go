package access

import "net/http"

// Role is what a token allows, or what a route needs.
type Role string

// The roles. Each includes those before it.
const (
	// Public needs no token. No token has this role.
	Public Role = ""
	// Viewer reads everything and changes nothing.
	Viewer Role = "viewer"
	// Producer enqueues calls too.
	Producer Role = "producer"
	// Operator does everything.
	Operator Role = "operator"
)

// Includes reports whether the role allows what another one allows.
func (r Role) Includes(need Role) bool { return r.rank() >= need.rank() }

func (r Role) rank() int {
	switch r {
	case Viewer:
		return 1
	case Producer:
		return 2
	case Operator:
		return 3
	}
	return 0
}

// Route is one row of the table of routes.
type Route struct {
	// Method is the HTTP method. GET answers HEAD too.
	Method string
	// Pattern is a path pattern of [http.ServeMux], without method and host.
	Pattern string
	// Role is the role that the route needs.
	Role Role
	// Handler answers. [Who] returns who asks.
	Handler http.Handler
}

// pattern is the route's pattern for [http.ServeMux].
func (r Route) pattern() string { return r.Method + " " + r.Pattern }
