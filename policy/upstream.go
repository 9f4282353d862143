package policy

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/seed-2903acc3/callq/internal/httpsyntax"
	"github.com/seed-2903acc3/callq/policy/yamlfile"
)

// Upstream is the key upstream of a policy file: the defaults of the upstreams that use
// the policy. An upstream's own settings override them.
type Upstream struct {
	// BaseURL is the URL of the API, empty if the policy gives none.
	BaseURL string
	// Idempotent are the patterns of calls that may be sent twice without harm. They
	// replace the usual methods. It is nil if the policy gives none.
	Idempotent []string
	// IdempotencyHeader is the header that makes every call idempotent, or empty.
	IdempotencyHeader string
	// Headers are sent with every call that does not set them itself.
	Headers map[string]string

	at map[string]yamlfile.Pos
}

// Where returns where a default is written, as "FILE:LINE", or "" if the policy does
// not give it. The key is base_url, idempotent, idempotency_header, or "headers." and the
// header's name.
func (u Upstream) Where(key string) string {
	at, ok := u.at[key]
	if !ok {
		return ""
	}
	return fmt.Sprintf("%s:%d", at.File, at.Line)
}

// Upstream returns the defaults of the upstreams that use the policy.
func (p *Policy) Upstream() Upstream { return p.upstream.clone() }

func (u Upstream) clone() Upstream {
	u.Idempotent, u.Headers, u.at = slices.Clone(u.Idempotent), maps.Clone(u.Headers), maps.Clone(u.at)
	return u
}

// HeadersBeside returns the headers whose names are neither among the upstream's own
// nor taken. Upper and lower case letters are equal.
func (u Upstream) HeadersBeside(own map[string]string, taken ...string) map[string]string {
	headers := maps.Clone(u.Headers)
	taken = slices.AppendSeq(slices.Clone(taken), maps.Keys(own))
	maps.DeleteFunc(headers, func(name, _ string) bool {
		return slices.ContainsFunc(taken, func(other string) bool { return strings.EqualFold(other, name) })
	})
	return headers
}

// readUpstream reads the defaults of upstreams. They must satisfy the same rules as in
// callq.yaml.
func (f *file) readUpstream(v yamlfile.Value) {
	u := Upstream{at: map[string]yamlfile.Pos{}}
	v.Mapping(yamlfile.Fields{
		"base_url": func(v yamlfile.Value) {
			if text, ok := v.Text(); ok {
				if err := httpsyntax.CheckBaseURL(text); err != nil {
					v.Failf("%v", err)
				}
				u.BaseURL, u.at["base_url"] = text, v.Pos()
			}
		},
		"idempotent": func(v yamlfile.Value) {
			u.Idempotent, u.at["idempotent"] = []string{}, v.Pos()
			v.List(func(item yamlfile.Value) {
				if p, ok := yamlfile.ParseText(item, ParsePattern); ok {
					u.Idempotent = append(u.Idempotent, p.String())
				}
			})
		},
		"idempotency_header": func(v yamlfile.Value) {
			if text, ok := v.Text(); ok {
				if !httpsyntax.IsToken(text) || httpsyntax.IsClientSet(text) {
					v.Failf("is %q, which is not a header that can be sent; write one as in Idempotency-Key", text)
				}
				u.IdempotencyHeader, u.at["idempotency_header"] = text, v.Pos()
			}
		},
		"headers": func(v yamlfile.Value) { f.readAddedHeaders(v, &u) },
	})
	f.upstream = u
}

func (f *file) readAddedHeaders(headers yamlfile.Value, u *Upstream) {
	u.Headers = map[string]string{}
	headers.Each(func(name string, v yamlfile.Value) {
		value, ok := v.Scalar()
		switch {
		case !ok:
			return
		case !httpsyntax.IsToken(name):
			v.FailKeyf("is not a header name; write letters, digits and dashes, as in X-Api-Version")
		case httpsyntax.IsClientSet(name), httpsyntax.IsReserved(name), httpsyntax.IsIdempotencyKey(name):
			v.FailKeyf("cannot be a default: it is a credential, belongs to one call, or is set by the HTTP client")
		case !httpsyntax.IsPrintable(value, true):
			v.Failf("contains a line break or another control character; write the value in one line")
		case strings.Contains(value, "${"):
			v.Failf("contains a ${…} reference, which policies cannot have; write a credential under auth in callq.yaml")
		}
		for other := range u.Headers {
			if strings.EqualFold(other, name) {
				v.FailKeyf("is the same header as %s; remove one of them", other)
			}
		}
		u.Headers[name], u.at["headers."+name] = value, v.Key()
	})
}

// over returns the defaults of a file merged with those of the file that it extends,
// key by key and header by header. The file's own come first.
func (u Upstream) over(base Upstream) Upstream {
	all := base.clone()
	if all.at == nil {
		all.at = map[string]yamlfile.Pos{}
	}
	if u.BaseURL != "" {
		all.BaseURL = u.BaseURL
	}
	if u.Idempotent != nil {
		all.Idempotent = u.Idempotent
	}
	if u.IdempotencyHeader != "" {
		all.IdempotencyHeader = u.IdempotencyHeader
	}
	if all.Headers == nil && len(u.Headers) > 0 {
		all.Headers = map[string]string{}
	}
	for name, value := range u.Headers {
		for other := range all.Headers {
			if strings.EqualFold(other, name) {
				delete(all.Headers, other)
				delete(all.at, "headers."+other)
			}
		}
		all.Headers[name] = value
	}
	maps.Copy(all.at, u.at)
	return all
}

// yaml writes the defaults, each with the file and line that it comes from.
func (u Upstream) yaml(w *bytes.Buffer) {
	if u.BaseURL == "" && u.Idempotent == nil && u.IdempotencyHeader == "" && len(u.Headers) == 0 {
		return
	}
	line := func(key, text string) {
		w.WriteString("  # from " + strings.Map(printable, u.Where(key)) + "\n" + text + "\n")
	}
	w.WriteString("\nupstream:\n")
	if u.BaseURL != "" {
		line("base_url", "  base_url: "+quote(u.BaseURL))
	}
	if u.Idempotent != nil {
		quoted := make([]string, len(u.Idempotent))
		for i, pattern := range u.Idempotent {
			quoted[i] = quote(pattern)
		}
		line("idempotent", "  idempotent: ["+strings.Join(quoted, ", ")+"]")
	}
	if u.IdempotencyHeader != "" {
		line("idempotency_header", "  idempotency_header: "+quote(u.IdempotencyHeader))
	}
	if len(u.Headers) > 0 {
		w.WriteString("  headers:\n")
		for _, name := range slices.Sorted(maps.Keys(u.Headers)) {
			line("headers."+name, "    "+quote(name)+": "+quote(u.Headers[name]))
		}
	}
}
