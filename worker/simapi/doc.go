// Package simapi may change; it is not part of the stable API. It simulates the HTTP API that callq was written for, with
// every way of failing that the API's error reference lists, and remembers each call it saw, so that a test can count what
// really arrived.
//
// A Server is an [http.Handler]. It knows nothing of queues, policies or workers: it only speaks HTTP.
//
//	sim := simapi.New(simapi.Config{Script: simapi.MustParseScript(`GET /patent/* -> 68300008 x2; ok`)})
//	web := httptest.NewServer(sim)
//	defer web.Close()
//	defer sim.Close() // first: it ends the calls that hang
//
// # What happens to a call
//
// Each step can end it:
//
//  1. The arrival is counted and logged as soon as its header was read.
//  2. The account: bearer token, apikey, hidden rate, quota, balance, each only if configured. A refused call does not
//     advance the script. A request for a token skips the account.
//  3. The script: the first line that matches answers with its next step.
//  4. The default: an envelope that echoes the call, credentials left out.
//
// # Scripts
//
// One rule a line; # starts a comment; first match wins.
//
//	[shared] [N%] METHOD /path [name=value …] -> step; step; …
//
// METHOD is in capitals, or * for any. In the path and in values * stands for any text, slashes included; the path is
// compared as it stands on the wire. name=value asks for a query parameter or, if there is none, a header of that name.
// Each call target (method, path, query) makes its own way through the steps, unless the line says shared: then all
// calls that match share one. N% takes that share of the targets, always the same ones for a given Config.Seed.
// After the last step the default answers.
//
//	GET /search/*            -> 68300008 x2; ok            # two service errors, then the default
//	POST /upload key=row-7*  -> 68300010 forever           # key is a query parameter or a header
//	shared GET /trend        -> ok x100; http:429 retry-after=2
//	5% * *                   -> http:503 latency=200ms     # one target in twenty, once each
//	GET /secret              -> 67200003@401; ok           an envelope error with HTTP status 401
//	GET /limit               -> 67200000 message="over the limit"
//	GET /old                 -> redirect:/new@307; redirect:http://elsewhere.test/
//	GET /odd                 -> html@502; malformed; empty; body=`{"no":"envelope"}`; cut; reset; hang=2s
//	PUT /much                -> big=10MB gzip header="X-Note: a long one"
//	GET /own                 -> http:460 header=X-Fault:credit body={"code": 17}; http:400 body=`<e a="b"/>`
//
// An answer is one of:
//
//	ok                 the default answer
//	68300008           an error envelope with this code
//	no-code            an error envelope without a code
//	http:503           this status, with a plain text that is no envelope; 200 to 599. With body=TEXT it has that text, as
//	                   application/json or text/plain, or none where TEXT is empty
//	html               a page
//	empty              no body
//	malformed          JSON that breaks off, correctly framed
//	cut                the default answer, with a Content-Length longer than what is sent
//	body=TEXT          this text, as application/json
//	big=10MB           the default envelope, filled up to this size; B, KB, MB, GB, KiB, MiB, GiB; 1 GiB at most
//	redirect:TARGET    302 to a path or an http(s) URL
//	hang, hang=2s      no answer until the client leaves, the Server closes, or the time is up (default Config.HangCap);
//	                   then the connection is closed
//	reset              the connection is reset (TCP RST) before the work is done
//	reset-after        the same, after the work is done
//
// The answers that come over HTTP may end in @STATUS (http: excepted), and any answer may have:
//
//	latency=50ms       wait so long before it
//	retry-after=2      seconds; retry-after=date:2s sends an HTTP-date so far from now (it may be negative)
//	header=NAME:VALUE  another header; may be repeated
//	message="…"        the envelope's message
//	gzip               compressed, whatever the client accepts
//	x3, forever        how often; forever only in the last step. Default: once
//
// A step without an answer means ok. Text with spaces, ; or # is quoted as in Go, with " or `. A body that is JSON needs no
// quotes: body={"a": "b; c"}.
//
// # Other APIs
//
// Config.API chooses another API than the default one; see [APIs]. Then good answers, refusals and headers have that API's
// form, as its public documents describe it; values are made up.
//
//   - Quota is a fixed window. Its headers say what is left, if the API has such headers. A call beyond it, or beyond Rate,
//     gets the API's own refusal with the true time to wait, if the API says one.
//   - Balance ends with the API's error for an account without money, if there is one.
//   - Token, and tokens that OAuth issues, end with the API's error for an expired token. A token is read from where the API
//     has it. Besides /oauth/token, the API's own path issues tokens.
//   - Stripe's answers to a POST are kept by Idempotency-Key and sent again, as long as the work of the first call began.
//
// A script can name the API's errors; README.md lists them, and so does the error for an unknown name. wait=D, as in
// wait=6m, is the time until calls are taken again, where the answer says one; message="…" is its message. Error codes and
// no-code are answers of the default API only.
//
//	POST /v1/chat/completions  -> rate-limit wait=6m; overloaded; insufficient-quota; ok      # openai
//	shared * *                 -> ok x100; secondary-limit wait=1m; ok                        # github
//
// # From outside
//
// Under /_sim/ a Server answers for itself; these requests are not counted:
//
//	GET  /_sim/stats     a [Stats]; ?since=RFC 3339 adds since_arrivals
//	GET  /_sim/calls     a [Call] a line, oldest first; ?since=SEQ leaves out those up to SEQ
//	POST /_sim/script    the body replaces the script
//	POST /_sim/config    JSON: quota, rate, balance, latency, token, envelope; what is absent stays
//	POST /_sim/expire    ends all tokens issued so far
//	POST /_sim/reset     forgets what was seen and spent; script and settings stay
//
// They ask for no credential: serve a Server on loopback only.
package simapi
