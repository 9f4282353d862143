// Package upstream may change without notice; it is the part of the worker that
// speaks HTTP to an API and turns whatever happens into a [policy.Outcome].
//
// It knows nothing of queues, tasks, circuits or ledgers, and it decides
// nothing: it sends one request, reads one answer, and describes it. A [Client]
// serves one upstream, which is one base URL with one credential.
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
//		return a.Err // the caller left, or the request may not be sent
//	}
//	decision := pol.Decide(a.Outcome, attempt)
//
// What the package promises:
//
//   - One Do is at most one request on the wire, redirects of GET and HEAD
//     within the origin aside. net/http would send some requests again by
//     itself; see newRequest for how that is prevented.
//   - "Before send" in an outcome means that not one byte of the request left.
//   - A request cannot leave its upstream: scheme, host, base path and
//     credential are never the caller's.
//   - No credential appears in an Outcome, an error, a log line, or a body that
//     the API echoes it in.
package upstream
