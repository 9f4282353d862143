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

// ErrRefused is wrapped by the Err of an Answer whose request may not be sent
// as it stands: its path would leave the upstream, or it sets what belongs to
// the worker. Sending it again cannot help.
var ErrRefused = errors.New("request refused")

// maxMethod is how long a method may be; the longest that is registered has 17
// letters.
const maxMethod = 32

// Request is one call to an upstream. Everything in it is the caller's and is
// treated as hostile.
type Request struct {
	// Method is the HTTP method; empty means GET.
	Method string
	// Path begins with one slash and is appended to the base URL. What is
	// percent-encoded stays so, what needs encoding is encoded. It may carry a
	// query string.
	Path string
	// RawQuery, an encoded query string, and Query are added to Path's own.
	RawQuery string
	Query    url.Values
	// Header holds additional headers. Those of ReservedHeader are refused, and
	// so is the one that carries the credential.
	Header http.Header
	// Body is sent as it is. It is not changed.
	Body []byte
	// ContentType is the body's media type, unless Header has one.
	ContentType string
	// IdempotencyKey is sent in the upstream's idempotency header, where it has
	// one and Header does not set it.
	IdempotencyKey string
	// NonIdempotent reports that the request must not be sent twice. It does not go out on
	// a connection where an earlier answer may not be over.
	NonIdempotent bool
	// Confirm, where it is not nil, asks whether the request may still be sent. It is
	// called before the request leaves where more than [ConfirmAfter] has passed since
	// Confirmed, or since it was called last: this process may have stood still, or
	// waited for a connection or a credential. After an error nothing is sent.
	Confirm   func(context.Context) error
	Confirmed time.Time
}

// ConfirmAfter is for how long it counts that a request may be sent; see
// [Request.Confirm].
const ConfirmAfter = 5 * time.Second

// prepared is a Request that was found to be well, with the credential yet to
// be added.
type prepared struct {
	method string
	url    url.URL
	header http.Header
	body   []byte
	once   bool

	confirm   func(context.Context) error
	confirmed time.Time
}

// confirmNow asks, where that was too long ago, whether p may still be sent.
func (p *prepared) confirmNow(ctx context.Context) error {
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

// sendBy is by when p has to leave; zero for any time.
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
		return nil, refuse("method", "%.40q is no HTTP method", r.Method)
	}
	if method == http.MethodConnect || method == http.MethodTrace {
		return nil, refuse("method", "%s is not a call to an API", method)
	}
	u, err := c.target(r)
	if err != nil {
		return nil, err
	}
	header, err := c.header(r)
	if err != nil {
		return nil, err
	}
	return &prepared{method: method, url: u, header: header, body: r.Body, once: r.NonIdempotent, confirm: r.Confirm, confirmed: r.Confirmed}, nil
}

// target builds the URL of r and makes sure that it lies under the base URL.
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

	// The last line of defence does not trust the rules above: it reads the URL
	// as the other side of the wire would.
	again, err := url.Parse(u.String())
	if err != nil || again.Scheme != c.base.Scheme || again.Host != c.base.Host || again.User != nil ||
		!strings.HasPrefix(again.EscapedPath(), c.basePath+"/") || again.Fragment != "" {
		return url.URL{}, refuse("path", "leads away from the upstream")
	}
	return u, nil
}

// query joins the encoded queries and values. A parameter that carries the
// credential is refused.
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

// header checks the caller's headers and adds the worker's.
func (c *Client) header(r Request) (http.Header, error) {
	h := make(http.Header, len(r.Header)+5)
	for name, values := range r.Header {
		switch {
		case !httpsyntax.IsToken(name):
			return nil, refuse("header", "%q is no header name", name)
		case httpsyntax.IsReserved(name), sameName(c.authHeaders, name):
			return nil, refuse("header", "%s belongs to the worker; remove it from the call", name)
		}
		for _, v := range values {
			if !httpsyntax.IsPrintable(v, true) {
				return nil, refuse("header", "%s holds a control character", name)
			}
			h.Add(name, v)
		}
	}
	c.additions.addHeaders(h, len(r.Body) > 0)
	if h.Get("Content-Type") == "" && r.ContentType != "" {
		if !httpsyntax.IsPrintable(r.ContentType, true) {
			return nil, refuse("content type", "holds a control character")
		}
		h.Set("Content-Type", r.ContentType)
	}
	if name := c.cfg.IdempotencyHeader; name != "" && r.IdempotencyKey != "" && h.Get(name) == "" {
		if !httpsyntax.IsPrintable(r.IdempotencyKey, true) {
			return nil, refuse("idempotency key", "holds a control character")
		}
		h.Set(name, r.IdempotencyKey)
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", "callq")
	}
	// Asked for here, so that net/http leaves the body alone and the limit can
	// be on what it unpacks to.
	h.Set("Accept-Encoding", "gzip")
	return h, nil
}

// newRequest makes the HTTP request for one hop. It sees to it that net/http
// never sends it a second time by itself. On a reused connection that dies
// without an answer, net/http sends again whatever it holds to be replayable:
// GET, HEAD, OPTIONS and TRACE, and anything with an Idempotency-Key or
// X-Idempotency-Key, as long as the Body is nil or GetBody is set. So:
//
//   - A body is given without GetBody.
//   - GET, HEAD and OPTIONS without a body are given an empty reader, and
//     "identity" as transfer encoding, without which net/http would look into
//     the reader, on a goroutine and against a clock, and might send it chunked.
//   - Other methods keep a nil Body, since only so net/http says
//     "Content-Length: 0", which some servers insist on. They are replayable
//     only by the two headers' canonical names, so these go out in lower case,
//     which is the same header to every server.
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

// escapePath returns the path fit for a URL, or refuses it. It must begin with
// one slash and hold no "..", however encoded, no backslash and no control
// character.
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
		return "", refuse("path", "must not hold control characters, encoded ones included")
	}
	return escaped, nil
}

// escape percent-encodes what is neither alphanumeric, nor in safe, nor encoded
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
			return "", refuse(field, "holds a control character at byte %d", i)
		case c == '#':
			return "", refuse(field, "holds a #; write %%23 if it is meant")
		case c == '\\' && field == "path":
			return "", refuse(field, `holds a backslash`)
		case c == '%':
			if !httpsyntax.IsEscape(s, i) {
				return "", refuse(field, "holds a %% that begins no encoding; write %%25 if it is meant")
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

// sameOrigin tells whether both URLs have the same scheme, host and port
// (RFC 6454, 4), and the second no user.
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

// cleanBasePath returns the base URL's path without a slash at its end.
func cleanBasePath(u *url.URL) string {
	if u.EscapedPath() == "" {
		return ""
	}
	return strings.TrimSuffix(path.Clean(u.EscapedPath()), "/")
}
