package redact

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Mark is written in place of a credential.
const Mark = "[redacted]"

// DefaultLimit is how many values a Redactor remembers.
const DefaultLimit = 1024

// Redactor removes the values that were added to it. The zero value has no values and is
// ready for use. A nil Redactor removes nothing, and Add on it does nothing. A Redactor is
// safe for concurrent use.
type Redactor struct {
	parent *Redactor
	limit  int

	mu  sync.Mutex // held while set is replaced
	set atomic.Pointer[set]
}

// New returns a Redactor that remembers the last limit values, besides the permanent ones.
// Each value is added to parent too. A limit of 0 means [DefaultLimit]; parent may be nil.
func New(limit int, parent *Redactor) *Redactor { return &Redactor{limit: limit, parent: parent} }

// set holds the values of a Redactor at one moment. It is immutable.
type set struct {
	entries []entry // oldest first
	byValue map[string]entry
	secrets []secret
	// occurs has true for each byte of each secret.
	occurs [256]bool
	// anyShort reports that some secret is removed only in the position of a credential.
	anyShort bool
	// anyUnescapeOnce and anyUnescapeRepeated report that some secret has unescapeOnce, or
	// does not have it.
	anyUnescapeOnce, anyUnescapeRepeated bool
}

// entry is a value as it was added.
type entry struct {
	value string
	words []string
	// permanent reports that newer entries do not displace it.
	permanent bool
}

// Add remembers a value and its parts: the value without surrounding space and byte
// order mark, the text after a scheme such as Bearer, the password in a Basic pair.
// words are the scheme, header, query parameter or user name that precedes the value on
// the wire; only short values need them. Adding the same value again costs one map
// look-up.
func (r *Redactor) Add(value string, words ...string) { r.add(value, words, false) }

// AddPermanent is like [Redactor.Add], but newer values never displace this one. It is
// for a value that is read only once and used for as long as the process runs.
func (r *Redactor) AddPermanent(value string, words ...string) { r.add(value, words, true) }

func (r *Redactor) add(value string, words []string, permanent bool) {
	if r == nil || value == "" || r.has(value, words, permanent) {
		return
	}
	r.parent.add(value, words, permanent)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.has(value, words, permanent) {
		return
	}
	var entries []entry
	if old := r.set.Load(); old != nil {
		entries = slices.Clone(old.entries)
	}
	added := entry{value: value, words: slices.Clone(words), permanent: permanent}
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.value == value }); i >= 0 {
		added.words, added.permanent = append(slices.Clone(entries[i].words), words...), permanent || entries[i].permanent
		entries = slices.Delete(entries, i, i+1)
	}
	limit := r.limit
	if limit == 0 {
		limit = DefaultLimit
	}
	over := len(entries) + 1 - limit
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		if over <= 0 || e.permanent {
			return false
		}
		over--
		return true
	})
	r.set.Store(newSet(append(entries, added)))
}

func (r *Redactor) current() *set {
	if r == nil {
		return nil
	}
	return r.set.Load()
}

// has reports whether value was added with these words and, if permanent is set, as a
// permanent value.
func (r *Redactor) has(value string, words []string, permanent bool) bool {
	s := r.set.Load()
	if s == nil {
		return false
	}
	e, ok := s.byValue[value]
	if !ok || permanent && !e.permanent {
		return false
	}
	for _, w := range words {
		if !slices.Contains(e.words, w) {
			return false
		}
	}
	return true
}

func newSet(entries []entry) *set {
	s := &set{entries: entries, byValue: make(map[string]entry, len(entries))}
	for _, e := range entries {
		s.byValue[e.value] = e
		for _, x := range derive(e.value, e.words) {
			s.addSecret(x)
		}
	}
	for i := range s.secrets {
		x := &s.secrets[i]
		x.prepare()
		s.anyShort = s.anyShort || !x.everywhere
		s.anyUnescapeOnce = s.anyUnescapeOnce || x.unescapeOnce
		s.anyUnescapeRepeated = s.anyUnescapeRepeated || !x.unescapeOnce
		for j := range len(x.value) {
			s.occurs[x.value[j]] = true
		}
	}
	return s
}

// addSecret adds a secret, or adds its words to the secret with the same value.
func (t *set) addSecret(x secret) {
	for i := range t.secrets {
		if t.secrets[i].value == x.value {
			t.secrets[i].words = append(t.secrets[i].words, x.words...)
			return
		}
	}
	t.secrets = append(t.secrets, x)
}

// Text returns s without credentials.
func (r *Redactor) Text(s string) string {
	set := r.current()
	if set == nil || s == "" {
		return s
	}
	spans := set.find(s)
	if len(spans) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, x := range spans {
		b.WriteString(s[at:x.from])
		b.WriteString(Mark)
		at = x.to
	}
	b.WriteString(s[at:])
	return b.String()
}

// Bytes returns b without credentials, or b itself if it contains none. If b is JSON, a
// number that is a credential is replaced by a string, so that the result is valid JSON.
func (r *Redactor) Bytes(b []byte) []byte {
	set := r.current()
	if set == nil || len(b) == 0 {
		return b
	}
	// s shares the memory of b; the search neither keeps nor changes it.
	s := unsafe.String(unsafe.SliceData(b), len(b))
	spans := set.find(s)
	if len(spans) == 0 {
		return b
	}
	quotes := quoter{s: s}
	out := make([]byte, 0, len(b)+len(spans)*len(Mark))
	at := 0
	for _, x := range spans {
		out = append(out, b[at:x.from]...)
		out = append(out, quotes.mark(x)...)
		at = x.to
	}
	return append(out, b[at:]...)
}

// Header returns a copy of h without credentials and without cookies, which are
// credentials of the session.
func (r *Redactor) Header(h http.Header) http.Header {
	set := r.current()
	out := make(http.Header, len(h))
	for name, values := range h {
		if name == "Set-Cookie" || name == "Set-Cookie2" {
			continue
		}
		clean := make([]string, len(values))
		for i, v := range values {
			switch {
			case set == nil:
				clean[i] = v
			case set.anyShort:
				// The name of the header may show that a short value is a credential.
				begin := name + ": "
				clean[i] = strings.TrimPrefix(r.Text(begin+v), begin)
			default:
				clean[i] = r.Text(v)
			}
		}
		out[name] = clean
	}
	return out
}
