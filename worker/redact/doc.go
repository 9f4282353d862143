// Package redact removes credentials from texts, answers and logs. It may change
// in any release.
//
// A [Redactor] is told every credential as it is read, also those that come later
// in a rotation, and removes them from whatever passes through it:
//
//	var r redact.Redactor
//	r.Add("sk-live-9f8e7d6c5b4a", "Bearer")
//	r.Text("key sk-live-9f8e7d6c5b4a refused") // "key [redacted] refused"
//
// # Which values are removed where
//
// A value of 12 characters or more, or of 8 with a digit or sign among them, is
// removed wherever it stands. A shorter one may be an ordinary word, so it is removed only
// where credentials stand: behind the scheme, header, parameter or user name that
// it was added with, or in an Authorization header.
//
// A credential is found as it is, and in the spellings of JSON, URLs, HTML and Go
// string literals. Where the matches of several credentials overlap, all of it is
// removed.
//
// The package knows nothing of upstreams, queues and commands.
package redact
