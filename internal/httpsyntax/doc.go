// Package httpsyntax checks the parts of a request that come from callers and
// configurations: header names, values, paths and URLs. The same checks apply when a call
// is accepted and before a worker sends it.
package httpsyntax
