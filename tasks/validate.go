package tasks

import (
	"fmt"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

const (
	// DefaultMaxBody is the largest request body in bytes, if Rules set no other.
	DefaultMaxBody = 8 << 20

	maxKey    = 200      // bytes
	maxBatch  = 200      // characters
	maxMethod = 32       // bytes
	maxTarget = 64 << 10 // bytes of a path or of a query string; servers refuse much shorter ones
	maxHeader = 64 << 10 // bytes of all header names and values
	maxMeta   = 64 << 10 // bytes; it is stored with the call and comes back with its result
)

// Rules are what a call is checked against. The zero value has no upstreams and accepts
// any well-formed name of one, refuses jobs, and allows bodies of [DefaultMaxBody].
type Rules struct {
	// Upstreams are the configured ones. A call without one gets the only one.
	Upstreams []UpstreamRules
	// MaxBody is the largest body in bytes, decoded, for upstreams that set none. 0: DefaultMaxBody.
	MaxBody int64
	// AllowJobs accepts calls whose method is JOB.
	AllowJobs bool
}

// UpstreamRules are the rules of one upstream.
type UpstreamRules struct {
	Name string
	// MaxBody is the largest request body in bytes. 0: as in Rules.
	MaxBody int64
	// ReservedHeaders are set by callq, in addition to those of ReservedHeader: the
	// header of the credential.
	ReservedHeaders []string
	// IdempotencyHeader is the header in which the API accepts an idempotency key. A
	// call may set its own value for it; otherwise its id is sent. Empty: the API
	// accepts none, and a call with an Idempotency-Key is refused.
	IdempotencyHeader string
	// ReservedQuery are the parameters that carry the credential.
	ReservedQuery []string
}

// Check completes c with its defaults, brings it into its canonical form (method in
// capitals, canonical header names, compact body, times in UTC, empty maps as nil) and
// returns the first error as a [*FieldError]. Checking a checked call changes nothing.
// The caller's maps are not changed; the result may share them.
func (r Rules) Check(c Call) (Call, error) {
	own, bad := r.resolve(c.Upstream)
	if bad != nil {
		return Call{}, bad
	}
	c.Upstream = own.Name
	c.Method = canonicalMethod(c.Method)
	if c.Priority == "" {
		c.Priority = PriorityNormal
	}
	// One after the other and not from a list of functions: a list would move c to the
	// heap for every line of a file.
	if bad = checkNames(&c); bad == nil {
		bad = checkMethod(&c, r.AllowJobs)
	}
	if bad == nil {
		bad = checkCallPath(&c, own)
	}
	if bad == nil {
		bad = checkQuery(&c, own)
	}
	if bad == nil {
		bad = checkHeaders(&c, own)
	}
	if bad == nil {
		bad = checkBody(&c, own.MaxBody)
	}
	if bad == nil {
		bad = checkTimes(&c)
	}
	if bad == nil {
		c.Meta, bad = canonicalMeta(c.Meta)
	}
	if bad != nil {
		return Call{}, bad
	}
	return c, nil
}

func (r Rules) resolve(name string) (UpstreamRules, *FieldError) {
	limit := r.MaxBody
	if limit == 0 {
		limit = DefaultMaxBody
	}
	for _, one := range r.Upstreams {
		if one.Name == name || name == "" && len(r.Upstreams) == 1 {
			if one.MaxBody == 0 {
				one.MaxBody = limit
			}
			return one, nil
		}
	}
	switch {
	case name == "":
		return UpstreamRules{}, &FieldError{Field: "upstream", Problem: "is missing", Fix: r.known()}
	case len(r.Upstreams) > 0:
		return UpstreamRules{}, &FieldError{Field: "upstream", Problem: "there is no upstream " + shown(name), Fix: r.known()}
	case !validUpstream(name):
		return UpstreamRules{}, &FieldError{
			Field: "upstream", Problem: shown(name) + " is not a valid name of an upstream", Fix: "a name is 1 to 64 of a-z, 0-9, _ and -",
		}
	}
	return UpstreamRules{Name: name, MaxBody: limit}, nil
}

func (r Rules) known() string {
	if len(r.Upstreams) == 0 {
		return "name the upstream to call"
	}
	names := make([]string, len(r.Upstreams))
	for i, one := range r.Upstreams {
		names[i] = one.Name
	}
	slices.Sort(names)
	return "configured: " + strings.Join(names, ", ")
}

func validUpstream(name string) bool {
	for i := range len(name) {
		if b := name[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '_' && b != '-' {
			return false
		}
	}
	return name != "" && len(name) <= 64
}

func checkNames(c *Call) *FieldError {
	switch {
	case c.Key == "":
		return &FieldError{Field: "key", Problem: "is empty", Fix: "give the call a name that no other in its batch has"}
	case len(c.Key) > maxKey:
		return &FieldError{
			Field: "key", Problem: fmt.Sprintf("has %d bytes", len(c.Key)), Fix: fmt.Sprintf("at most %d are allowed; use a hash of it", maxKey),
		}
	}
	if bad := checkText("key", c.Key); bad != nil {
		return bad
	}
	if c.Batch != "" {
		return checkBatch(c.Batch)
	}
	return nil
}

// CheckBatch returns what is wrong with the name of a batch, as a [*FieldError]: it
// must have 1 to 200 printable characters, none of them "{" or "}" (which have a
// meaning in keys of a Redis Cluster), and no space at its ends.
func CheckBatch(name string) error {
	if bad := checkBatch(name); bad != nil {
		return bad
	}
	return nil
}

func checkBatch(name string) *FieldError {
	if bad := checkText("batch", name); bad != nil {
		return bad
	}
	printable := !strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) })
	switch count := utf8.RuneCountInString(name); {
	case count == 0:
		return &FieldError{Field: "batch", Problem: "is empty", Fix: "name the batch"}
	case count > maxBatch:
		return &FieldError{Field: "batch", Problem: fmt.Sprintf("has %d characters", count), Fix: fmt.Sprintf("at most %d are allowed", maxBatch)}
	case !printable || strings.ContainsAny(name, "{}") || strings.TrimSpace(name) != name:
		return &FieldError{
			Field: "batch", Problem: shown(name) + " is not a valid name of a batch",
			Fix: "use printable characters, no braces, and no space at either end",
		}
	}
	return nil
}

func checkMethod(c *Call, allowJobs bool) *FieldError {
	bad := func(problem, fix string) *FieldError { return &FieldError{Field: "method", Problem: problem, Fix: fix} }
	switch {
	case len(c.Method) > maxMethod || !httpsyntax.IsToken(c.Method):
		return bad(shown(c.Method)+" is not an HTTP method", "use GET, POST or another one")
	case c.Method == "CONNECT":
		return bad("CONNECT would leave the upstream", "use GET, POST or another one")
	case c.Method == "TRACE":
		return bad("TRACE would echo the credential", "use GET, POST or another one")
	case c.Method != MethodJob:
		return nil
	case !allowJobs:
		return bad("JOB is reserved for jobs in Go code", "enqueue jobs from Go")
	case !strings.HasPrefix(c.Path, "/") || !validKind(c.Path[1:]):
		return badKind(strings.TrimPrefix(c.Path, "/"))
	case len(c.Query) > 0 || len(c.Headers) > 0:
		return bad("a JOB must not have a query or headers", "put everything it needs into its arguments")
	}
	return nil
}

// canonicalMethod avoids an allocation for the methods that nearly all calls have.
func canonicalMethod(method string) string {
	switch method {
	case "", "GET":
		return "GET"
	case "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", MethodJob:
		return method
	}
	if !httpsyntax.IsToken(method) {
		return method
	}
	return strings.ToUpper(method)
}

func checkHeaders(c *Call, own UpstreamRules) *FieldError {
	if len(c.Headers) == 0 {
		c.Headers = nil
		return nil
	}
	canonical, size := c.Headers, 0
	for name, value := range c.Headers {
		if textproto.CanonicalMIMEHeaderKey(name) != name || trimHeader(value) != value {
			canonical = make(map[string]string, len(c.Headers))
			break
		}
	}
	rewrite := len(canonical) == 0
	var few [8]string
	for _, name := range appendSortedNames(few[:0], c.Headers) {
		value := c.Headers[name]
		if name == "" || !httpsyntax.IsToken(name) {
			return &FieldError{Field: "headers", Problem: shown(name) + " is not a header name", Fix: `use letters, digits and "-"`}
		}
		proper := textproto.CanonicalMIMEHeaderKey(name)
		if httpsyntax.IsReserved(name) || slices.ContainsFunc(own.ReservedHeaders, func(h string) bool { return strings.EqualFold(h, name) }) {
			return &FieldError{
				Field: "headers." + proper, Problem: "is set by callq", Fix: "remove it, and write a credential into the upstream's auth",
			}
		}
		if bad := checkIdempotencyKey(proper, own); bad != nil {
			return bad
		}
		if bad := checkText("headers", value); bad != nil {
			bad.Field = "headers." + proper
			return bad
		}
		size += len(proper) + len(value)
		if !rewrite {
			continue
		}
		if _, twice := canonical[proper]; twice {
			return &FieldError{Field: "headers." + proper, Problem: "appears twice", Fix: "upper and lower case are the same in a header's name; keep one"}
		}
		canonical[proper] = trimHeader(value)
	}
	if size > maxHeader {
		return &FieldError{Field: "headers", Problem: fmt.Sprintf("has %d bytes", size), Fix: fmt.Sprintf("at most %d are allowed", maxHeader)}
	}
	c.Headers = canonical
	return nil
}

// checkIdempotencyKey refuses an idempotency key that the upstream is not configured to
// accept. callq would assume that the call must not be sent twice, and the sender that
// it may.
func checkIdempotencyKey(name string, own UpstreamRules) *FieldError {
	if !httpsyntax.IsIdempotencyKey(name) || strings.EqualFold(name, own.IdempotencyHeader) {
		return nil
	}
	bad := &FieldError{Field: "headers." + name, Problem: "is not the idempotency_header of upstream " + own.Name}
	if own.IdempotencyHeader != "" {
		bad.Fix = "name it " + own.IdempotencyHeader + ", or set idempotency_header: " + name + " for that upstream"
	} else {
		bad.Problem = "needs the setting idempotency_header of upstream " + own.Name
		bad.Fix = "set idempotency_header: " + name + " there if the API accepts it: then this value is sent at every attempt, and a call without one sends its id"
	}
	return bad
}

// trimHeader removes white space that is not part of a header value (RFC 9110, 5.5).
func trimHeader(value string) string { return strings.Trim(value, " \t") }

func checkBody(c *Call, most int64) *FieldError {
	raw, bad := compactBody(c.Body)
	if bad != nil || raw == nil {
		c.Body = nil
		return bad
	}
	data, _, bad := c.renderBody(raw)
	if bad != nil {
		return bad
	}
	if int64(len(data)) > most {
		return &FieldError{
			Field: "body", Problem: fmt.Sprintf("has %d bytes", len(data)),
			Fix: fmt.Sprintf("at most %d are allowed (max_body of the upstream)", most),
		}
	}
	c.Body = raw
	return nil
}

func checkTimes(c *Call) *FieldError {
	switch c.Priority {
	case PriorityHigh, PriorityNormal, PriorityLow:
	default:
		return &FieldError{Field: "priority", Problem: "there is no priority " + shown(string(c.Priority)), Fix: "use high, normal or low"}
	}
	for _, one := range [...]struct {
		field string
		at    **time.Time
	}{{"not_before", &c.NotBefore}, {"deadline", &c.Deadline}} {
		if *one.at == nil || (*one.at).IsZero() {
			*one.at = nil
			continue
		}
		// Round removes the monotonic clock, which is not stored.
		utc := (*one.at).Round(0).UTC()
		if bad := checkYear(one.field, utc); bad != nil {
			return bad
		}
		*one.at = &utc
	}
	if c.Deadline != nil && c.NotBefore != nil && c.Deadline.Before(*c.NotBefore) {
		return &FieldError{Field: "deadline", Problem: "is before not_before, so the call could never be sent", Fix: "swap them or drop one"}
	}
	return nil
}

// checkText refuses invalid UTF-8 and control characters, C1 and DEL included: CR and
// LF would split a request.
func checkText(field, s string) *FieldError {
	for i := 0; i < len(s); {
		b := s[i]
		switch {
		case b < ' ' || b == 0x7f:
			return &FieldError{Field: field, Problem: fmt.Sprintf("has a control character (0x%02x) at byte %d", b, i+1), Fix: "remove it"}
		case b < utf8.RuneSelf:
			i++
		default:
			r, size := utf8.DecodeRuneInString(s[i:])
			switch {
			case r == utf8.RuneError && size == 1:
				return &FieldError{Field: field, Problem: fmt.Sprintf("is not valid UTF-8 at byte %d", i+1), Fix: "encode it as UTF-8"}
			case unicode.IsControl(r):
				return &FieldError{Field: field, Problem: fmt.Sprintf("has a control character (%U) at byte %d", r, i+1), Fix: "remove it"}
			}
			i += size
		}
	}
	return nil
}

// shown quotes text from outside for a message, cut to a reasonable length.
func shown(s string) string {
	const most = 60
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}
