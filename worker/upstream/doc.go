// Package upstream sends HTTP requests to an API and describes the result as a
// [policy.Outcome]. It is internal to the worker and may change in any release,
// except for the types that package worker shows: Auth, AuthStyle, OAuth2Config, Secret,
// TLS and their constructors.
//
// It does not depend on queues, tasks, circuits or ledgers, and it makes no decisions:
// it sends one request, reads one answer, and describes it. A [Client] serves one
// upstream, which is one base URL with one credential.
//
//	c, err := upstream.New(upstream.Config{
//		Name:    "patsnap",
//		BaseURL: "https://connect.patsnap.com",
//		Auth:    upstream.Bearer(upstream.EnvSecret("PATSNAP_TOKEN")),
//	})
//	if err != nil {
//		return err
//	}
//	defer c.Close()
//	a := c.Do(ctx, upstream.Request{Method: "GET", Path: "/search/patent", Query: url.Values{"q": {"solar cell"}}})
//	if a.NotSent {
//		return a.Err // the caller cancelled, or the request may not be sent
//	}
//	decision := pol.Decide(a.Outcome, attempt)
//
// What the package guarantees:
//
//   - One Do sends at most one request, except for redirects of GET and HEAD within
//     the origin. net/http would send some requests again by itself; newRequest
//     prevents that.
//   - "Before send" in an outcome means that no byte of the request was sent.
//   - A request cannot leave its upstream: the caller cannot change the scheme, the
//     host, the base path or the credential.
//   - No credential appears in an Outcome, an error or a log line, nor in a body in
//     which the API echoes it.
package upstream
