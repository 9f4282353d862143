package upstream

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
)

// additions are the headers and parameters that the configuration adds to every
// request of an upstream. What a call sets itself takes precedence.
type additions struct {
	header http.Header
	query  []addition
}

// addition is one parameter: its name, and name and value encoded for a URL.
type addition struct{ name, encoded string }

func newAdditions(cfg Config) additions {
	var a additions
	if len(cfg.Headers) > 0 {
		a.header = make(http.Header, len(cfg.Headers))
		for name, value := range cfg.Headers {
			a.header.Set(name, value)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Query)) {
		a.query = append(a.query, addition{name, url.QueryEscape(name) + "=" + url.QueryEscape(cfg.Query[name])})
	}
	return a
}

// addHeaders adds the headers that h does not have. It adds a Content-Type only to a
// request with a body.
func (a additions) addHeaders(h http.Header, hasBody bool) {
	for name, values := range a.header {
		if _, own := h[name]; !own && (hasBody || name != "Content-Type") {
			h[name] = values
		}
	}
}

// addQuery adds the parameters that the encoded query does not have.
func (a additions) addQuery(query string) string {
	if len(a.query) == 0 {
		return query
	}
	own := map[string]bool{}
	for pair := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil {
			name = plain
		}
		own[name] = true
	}
	for _, add := range a.query {
		switch {
		case own[add.name]:
		case query == "":
			query = add.encoded
		default:
			query += "&" + add.encoded
		}
	}
	return query
}

// validateAdditions reports the errors in Headers, Query and KeepHeaders.
func (c Config) validateAdditions(report func(field, format string, args ...any)) {
	for _, name := range slices.Sorted(maps.Keys(c.Headers)) {
		field := "headers." + name
		switch {
		case !httpsyntax.IsToken(name):
			report("headers", "%q is not a header name", name)
		case httpsyntax.IsReserved(name), containsName(c.Auth.Headers(), name):
			report(field, "is set by the worker; put a credential under auth")
		case strings.EqualFold(name, c.IdempotencyHeader), httpsyntax.IsIdempotencyKey(name):
			report(field, "carries the id of each call; set it as idempotency_header")
		case !httpsyntax.IsPrintable(c.Headers[name], true):
			report(field, "contains a control character")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(c.Query)) {
		switch {
		case name == "":
			report("query", "has a parameter without a name")
		case containsName(c.Auth.Parameters(), name):
			report("query."+name, "carries the credential; remove it here or from auth")
		}
	}
	if len(c.KeepHeaders) > maxKeepHeaders {
		report("keep_headers", "has %d names; at most %d are kept", len(c.KeepHeaders), maxKeepHeaders)
	}
	for i, name := range c.KeepHeaders {
		switch {
		case !httpsyntax.IsToken(name):
			report(fmt.Sprintf("keep_headers[%d]", i), "%q is not a header name", name)
		case httpsyntax.IsSessionCookie(name):
			report(fmt.Sprintf("keep_headers[%d]", i), "%s carries a session's credential, which a result must not contain", name)
		}
	}
}

// containsName reports whether name is one of names, ignoring case.
func containsName(names []string, name string) bool {
	return slices.ContainsFunc(names, func(one string) bool { return strings.EqualFold(one, name) })
}
