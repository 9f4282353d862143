// Package api is the HTTP API under /v1: it enqueues calls, follows batches, and changes
// dead letters and circuits. It may change in any version; the routes and the fields stay.
//
//	a, err := api.New(api.Config{Client: client, Producer: producer, …})
//	handler := control.Handler(a.Routes()) // package access
//
// [Document] is its description (OpenAPI 3.1). Every answer to an error is a problem document
// (RFC 9457) that says what is wrong and what to do. The JSON forms are those of the command
// line's --json (package jsonform) and of the results file (package tasks).
package api
