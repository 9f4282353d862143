package redact

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Mark stands where a credential was.
const Mark = "[redacted]"

// DefaultLimit is how many values a Redactor remembers.
const DefaultLimit = 1024

// Redactor removes the values that it was told of. The zero value and nil
// know none; nil cannot be told of any. It is safe for concurrent use.
type Redactor struct {
	parent *Redactor
	limit  int

	mu  sync.Mutex // held to replace set
	set atomic.Pointer[set]
}

// New returns a Redactor that remembers the last limit values, besides those that are
// kept, and tells parent of each value. A limit of 0 means [DefaultLimit]; parent may be nil.
func New(limit int, parent *Redactor) *Redactor { return &Redactor{limit: limit, parent: parent} }

// set is what a Redactor knows at one moment. It is never changed.
type set struct {
	entries []entry // the oldest first
	known   map[string]entry
	secrets []secret
	// occurs tells which bytes begin a character of a secret.
	occurs [256]bool
	// narrow tells that some secret is removed only where credentials stand, once
	// and often which kinds of secret there are, see secret.once.
	narrow, once, often bool
}

// entry is a value as it was added.
type entry struct {
	value string
	words []string
	// kept tells that it is not forgotten for newer ones.
	kept bool
}

// Add remembers a value, and what it is made of: the value without space and byte
// order mark around it, what follows a scheme such as Bearer, the password in a
// Basic pair. words are the scheme, the header, the query parameter or the user
// name that the value stands behind on the wire; they matter for short values
// alone. Adding a known value again costs one look-up.
func (r *Redactor) Add(value string, words ...string) { r.add(value, words, false) }

// Keep is [Redactor.Add] for a value that is never forgotten, however many follow:
// one that is in use for as long as the process runs, and is read only once.
func (r *Redactor) Keep(value string, words ...string) { r.add(value, words, true) }

func (r *Redactor) add(value string, words []string, kept bool) {
	if r == nil || value == "" || r.knows(value, words, kept) {
		return
	}
	r.parent.add(value, words, kept)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.knows(value, words, kept) {
		return
	}
	var entries []entry
	if old := r.set.Load(); old != nil {
		entries = slices.Clone(old.entries)
	}
	added := entry{value: value, words: slices.Clone(words), kept: kept}
	if i := slices.IndexFunc(entries, func(e entry) bool { return e.value == value }); i >= 0 {
		added.words, added.kept = append(slices.Clone(entries[i].words), words...), kept || entries[i].kept
		entries = slices.Delete(entries, i, i+1)
	}
	limit := r.limit
	if limit == 0 {
		limit = DefaultLimit
	}
	over := len(entries) + 1 - limit
	entries = slices.DeleteFunc(entries, func(e entry) bool {
		if over <= 0 || e.kept {
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

// knows reports whether value was added with these words and, where kept is set,
// is never forgotten.
func (r *Redactor) knows(value string, words []string, kept bool) bool {
	s := r.set.Load()
	if s == nil {
		return false
	}
	have, ok := s.known[value]
	if !ok || kept && !have.kept {
		return false
	}
	for _, w := range words {
		if !slices.Contains(have.words, w) {
			return false
		}
	}
	return true
}

func newSet(entries []entry) *set {
	s := &set{entries: entries, known: make(map[string]entry, len(entries))}
	for _, e := range entries {
		s.known[e.value] = e
		for _, x := range derive(e.value, e.words) {
			s.join(x)
		}
	}
	for i := range s.secrets {
		x := &s.secrets[i]
		x.prepare()
		s.narrow = s.narrow || !x.wide
		s.once, s.often = s.once || x.once, s.often || !x.once
		for j := range len(x.value) {
			s.occurs[x.value[j]] = true
		}
	}
	return s
}

// join adds a secret, or its words to one of the same value.
func (t *set) join(x secret) {
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

// Bytes returns b without credentials: b itself where it holds none. Where b is
// JSON, a number that is a credential becomes a string, so that b stays JSON.
func (r *Redactor) Bytes(b []byte) []byte {
	set := r.current()
	if set == nil || len(b) == 0 {
		return b
	}
	// A view of b for the search, which keeps and changes nothing.
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
			case set.narrow:
				// The header's name may say that what follows is a credential.
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
