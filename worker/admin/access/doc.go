// Package access decides who may use which route of the admin server: tokens and their
// roles, sessions for browsers, and a limit for wrong tokens. It may change in any
// version.
//
//	routes := []access.Route{
//		{Method: "GET", Pattern: "/healthz", Role: access.Public, Handler: health},
//		{Method: "GET", Pattern: "/v1/batches", Role: access.Viewer, Handler: batches},
//	}
//	control, err := access.New(access.Config{Tokens: tokens})
//	http.ListenAndServe(address, control.Handler(routes))
//
// Each route has one row, with the role that it needs. A request shows who it is from by a
// bearer token (programs) or by the cookie of a session (browsers, which get it on the page
// /sign-in). [Who] returns the name for logs and records.
//
// If there are no tokens, the address must be a loopback address, and everybody on this
// machine is an operator.
package access
