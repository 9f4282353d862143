// Package admin is the admin server's handler: health checks, pages for people, asynq's
// own dashboard and the HTTP API. It may change in any version.
//
//	GET /healthz     the process runs
//	GET /readyz      Redis answers, and its clock and this machine's agree
//	GET /            the overview; /batches, /dead, /calls/{id} and /search (package page)
//	GET /metrics     Prometheus metrics
//	    /asynqmon/   asynq's dashboard
//	    /v1/…        the HTTP API (package api)
//	    /sign-in     where a browser sends its token (package access)
//
// routesOf has the table of all routes, with the role that each needs; package access
// checks the roles. Without tokens the server must listen on a loopback address. Then every
// program on this machine has access, but no web page of another site: the Host header and
// the origin are checked.
//
// The package makes no calls.
package admin
