package upstream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

// ErrRefused is wrapped by the Err of an Answer whose request must not be sent: its path
// leads out of the upstream, or it sets a header that only the worker may set. Sending it
// again cannot help.
var ErrRefused = errors.New("request refused")

// maxMethod is the maximum length of a method. The longest registered method has 17
// letters (IANA, HTTP Method Registry).
const maxMethod = 32

// Request is one call to an upstream. All its fields are treated as untrusted input.
type Request struct {
	// Method is the HTTP method; empty means GET.
	Method string
	// Path begins with one slash and is appended to the base URL. Characters that need
	// percent-encoding are encoded; existing encoding is kept. Path may have a query.
	Path string
	// RawQuery, which is encoded, and Query are appended to the query of Path.
	RawQuery string
	Query    url.Values
	// Header holds additional headers. A request that sets a reserved header
	// (httpsyntax.IsReserved) or the header of the credential is refused.
	Header http.Header
	// Body is sent unchanged.
	Body []byte
	// ContentType is the media type of the body, unless Header has one.
	ContentType string
	// IdempotencyKey is sent in the idempotency header of the upstream, if it has one
	// and Header does not set it.
	IdempotencyKey string
	// TraceParent and TraceState are sent as the headers of W3C Trace Context, unless they
	// are empty or the request has a traceparent of its own.
	TraceParent, TraceState string
	// NonIdempotent reports that the request must not be sent twice. It is not sent on a
	// connection on which more bytes of an earlier answer might arrive.
	NonIdempotent bool
	// Confirm checks whether the request may still be sent; it may be nil. It is called
	// right before the request is sent if more than [ConfirmAfter] has passed since
	// Confirmed or the last call of Confirm: this process may have been stopped, or have
	// waited for a connection or a credential. If it returns an error, nothing is sent.
	Confirm   func(context.Context) error
	Confirmed time.Time
}

// ConfirmAfter is how long a confirmation is valid; see [Request.Confirm].
const ConfirmAfter = 5 * time.Second

// prepared is a valid Request, without the credential.
type prepared struct {
	method        string
	url           url.URL
	header        http.Header
	body          []byte
	nonIdempotent bool

	confirm   func(context.Context) error
	confirmed time.Time
}

// confirmIfNeeded calls confirm if the last confirmation is no longer valid.
func (p *prepared) confirmIfNeeded(ctx context.Context) error {
	asked := time.Now()
	if p.confirm == nil || asked.Sub(p.confirmed) < ConfirmAfter {
		return nil
	}
	if err := p.confirm(ctx); err != nil {
		return err
	}
	p.confirmed = asked
	return nil
}

// sendBy is the time by which p must be sent; zero for any time.
func (p *prepared) sendBy() time.Time {
	if p.confirm == nil {
		return time.Time{}
	}
	return p.confirmed.Add(ConfirmAfter)
}

// prepare checks r and joins it to the base URL. Every error wraps ErrRefused.
func (c *Client) prepare(r Request) (*prepared, error) {
	method := strings.ToUpper(r.Method)
	if method == "" {
		method = http.MethodGet
	}
	if len(method) > maxMethod || !httpsyntax.IsToken(method) {
		return nil, refuse("method", "%.40q is not an HTTP method", r.Method)
	}
	if method == http.MethodConnect || method == http.MethodTrace {
		return nil, refuse("method", "%s cannot be used for calls to an API", method)
	}
	u, err := c.target(r)
	if err != nil {
		return nil, err
	}
	header, err := c.header(r)
	if err != nil {
		return nil, err
	}
	return &prepared{method: method, url: u, header: header, body: r.Body, nonIdempotent: r.NonIdempotent, confirm: r.Confirm, confirmed: r.Confirmed}, nil
}

// target builds the URL of r and checks that it is below the base URL.
func (c *Client) target(r Request) (url.URL, error) {
	rawPath, rawQuery, _ := strings.Cut(r.Path, "?")
	escaped, err := escapePath(rawPath)
	if err != nil {
		return url.URL{}, err
	}
	query, err := c.query(rawQuery, r.RawQuery, r.Query)
	if err != nil {
		return url.URL{}, err
	}
	u := c.base
	u.RawPath = c.basePath + escaped
	if u.Path, err = url.PathUnescape(u.RawPath); err != nil {
		return url.URL{}, refuse("path", "has a broken percent encoding")
	}
	u.RawQuery = query

	// Do not rely on the checks above: parse the URL as the server does.
	again, err := url.Parse(u.String())
	if err != nil || again.Scheme != c.base.Scheme || again.Host != c.base.Host || again.User != nil ||
		!strings.HasPrefix(again.EscapedPath(), c.basePath+"/") || again.Fragment != "" {
		return url.URL{}, refuse("path", "leads out of the upstream")
	}
	return u, nil
}

// query joins the encoded queries and values. It refuses a parameter that carries the
// credential.
func (c *Client) query(fromPath, raw string, values url.Values) (string, error) {
	parts := make([]string, 0, 3)
	for _, p := range []string{fromPath, raw, values.Encode()} {
		if p == "" {
			continue
		}
		p, err := escape(p, "query", "-._~!$&'()*+,;=:@/?[]|{}^`")
		if err != nil {
			return "", err
		}
		parts = append(parts, p)
	}
	joined := strings.Join(parts, "&")
	if len(c.authQuery) == 0 {
		return c.additions.addQuery(joined), nil
	}
	for pair := range strings.FieldsFuncSeq(joined, func(r rune) bool { return r == '&' || r == ';' }) {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		for _, own := range c.authQuery {
			if strings.EqualFold(name, own) {
				return "", refuse("query", "%s carries the upstream's credential; remove it from the call", own)
			}
		}
	}
	return c.additions.addQuery(joined), nil
}

// header checks the headers of the caller and adds those of the worker.
func (c *Client) header(r Request) (http.Header, error) {
	h := make(http.Header, len(r.Header)+5)
	for name, values := range r.Header {
		switch {
		case !httpsyntax.IsToken(name):
			return nil, refuse("header", "%q is not a header name", name)
		case httpsyntax.IsReserved(name), containsName(c.authHeaders, name):
			return nil, refuse("header", "%s is set by the worker; remove it from the call", name)
		}
		for _, v := range values {
			if !httpsyntax.IsPrintable(v, true) {
				return nil, refuse("header", "%s contains a control character", name)
			}
			h.Add(name, v)
		}
	}
	c.additions.addHeaders(h, len(r.Body) > 0)
	if h.Get("Content-Type") == "" && r.ContentType != "" {
		if !httpsyntax.IsPrintable(r.ContentType, true) {
			return nil, refuse("content type", "contains a control character")
		}
		h.Set("Content-Type", r.ContentType)
	}
	if name := c.cfg.IdempotencyHeader; name != "" && r.IdempotencyKey != "" && h.Get(name) == "" {
		if !httpsyntax.IsPrintable(r.IdempotencyKey, true) {
			return nil, refuse("idempotency key", "contains a control character")
		}
		h.Set(name, r.IdempotencyKey)
	}
	if r.TraceParent != "" && h.Get("Traceparent") == "" {
		h.Set("Traceparent", r.TraceParent)
		h.Del("Tracestate") // it would belong to another trace
		if r.TraceState != "" {
			h.Set("Tracestate", r.TraceState)
		}
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "callq")
	}
	// Set it here, so that net/http does not decode the body. Then the size limit can
	// apply to the decoded body.
	h.Set("Accept-Encoding", "gzip")
	return h, nil
}

// newRequest makes the HTTP request for one hop, in a form that net/http never sends a
// second time by itself. If a reused connection breaks without an answer, net/http sends
// a request again if it considers it replayable: GET, HEAD, OPTIONS and TRACE, and
// every request with an Idempotency-Key or X-Idempotency-Key, if Body is nil or GetBody
// is set. So:
//
//   - A request with a body has no GetBody.
//   - GET, HEAD and OPTIONS without a body have an empty reader as Body, and the
//     transfer encoding "identity". Without the latter, net/http would read from the
//     Body with a time limit to find out whether it is empty, and might send it chunked.
//   - Other methods without a body have a nil Body, because net/http sends
//     "Content-Length: 0", which some servers require, only then. They are replayable
//     only because of the two headers, which net/http finds by their canonical names. So
//     the two headers are sent in lower case, which means the same to every server.
func newRequest(ctx context.Context, p *prepared, u *url.URL, body []byte) *http.Request {
	header := p.header.Clone()
	req := (&http.Request{
		Method: p.method, URL: u, Host: u.Host, Header: header,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	switch {
	case len(body) > 0:
		req.Body = io.NopCloser(bytes.NewReader(body))
		req.ContentLength = int64(len(body))
	case p.method == http.MethodGet, p.method == http.MethodHead, p.method == http.MethodOptions:
		req.Body = io.NopCloser(bytes.NewReader(nil))
		req.TransferEncoding = []string{"identity"}
	default:
		for _, name := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if v, ok := header[name]; ok {
				delete(header, name)
				header[strings.ToLower(name)] = v
			}
		}
	}
	return req
}

// escapePath percent-encodes a path, or refuses it. A path must begin with one slash. It
// must not contain "..", encoded or not, a backslash or a control character.
func escapePath(raw string) (string, error) {
	switch {
	case !strings.HasPrefix(raw, "/"):
		return "", refuse("path", "must begin with a slash and name no host")
	case strings.HasPrefix(raw, "//"):
		return "", refuse("path", "must not begin with two slashes, which name a host")
	}
	escaped, err := escape(raw, "path", "-._~!$&'()*+,;=:@/")
	if err != nil {
		return "", err
	}
	if err := httpsyntax.CheckSegments(escaped); err != nil {
		return "", refuse("path", "%v", err)
	}
	plain, err := url.PathUnescape(escaped)
	if err != nil {
		return "", refuse("path", "has a broken percent encoding")
	}
	if !httpsyntax.IsPrintable(plain, false) {
		return "", refuse("path", "must not contain control characters, encoded or not")
	}
	return escaped, nil
}

// escape percent-encodes each character that is not alphanumeric, in safe, or encoded
// already (RFC 3986, 2.1).
func escape(s, field, safe string) (string, error) {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte(safe, c) >= 0:
			b.WriteByte(c)
		case c < 0x20 || c == 0x7f:
			return "", refuse(field, "contains a control character at byte %d", i)
		case c == '#':
			return "", refuse(field, "contains a #; write %%23 for the character")
		case c == '\\' && field == "path":
			return "", refuse(field, `contains a backslash`)
		case c == '%':
			if !httpsyntax.IsEscape(s, i) {
				return "", refuse(field, "contains a %% that is not followed by two hexadecimal digits; write %%25 for the character")
			}
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hex[c>>4])
			b.WriteByte(hex[c&15])
		}
	}
	return b.String(), nil
}

func refuse(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrRefused, field, fmt.Sprintf(format, args...))
}

// sameOrigin reports whether both URLs have the same scheme, host and port
// (RFC 6454, 4), and b has no user.
func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) &&
		portOf(a) == portOf(b) && b.User == nil
}

func portOf(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

// cleanBasePath returns the path of the base URL without a slash at its end.
func cleanBasePath(u *url.URL) string {
	if u.EscapedPath() == "" {
		return ""
	}
	return strings.TrimSuffix(path.Clean(u.EscapedPath()), "/")
}
