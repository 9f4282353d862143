// Package httpsyntax checks the parts of a request that callers and configurations
// give: names of headers, values, paths and URLs. What a call is refused for when it
// is accepted, and what the worker refuses before it is sent, is decided here once.
package httpsyntax
