// Package redact removes credentials from texts, answers and logs. It may change
// in any release, except for the type Redactor, which package worker shows.
//
// Each credential is added to a [Redactor] when it is read, also after a rotation.
// The Redactor removes them from every text that it is given:
//
//	var r redact.Redactor
//	r.Add("sk-live-9f8e7d6c5b4a", "Bearer")
//	r.Text("key sk-live-9f8e7d6c5b4a refused") // "key [redacted] refused"
//
// # Which values are removed where
//
// A value of at least 12 characters is removed everywhere, and so is a value of at least
// 8 characters that contains a digit or a sign. A shorter value may be an ordinary word.
// It is removed only in the position of a credential: after the scheme, header, parameter
// or user name that it was added with, or in an Authorization header.
//
// A credential is found unencoded, and in the escaping of JSON, URLs, HTML and Go
// string literals. Where matches of several credentials overlap, the whole overlapping
// text is removed.
//
// The package does not depend on upstreams, queues or commands.
package redact
