package upstream

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
)

const (
	// minRedactText and minRedactBody are the lengths, in bytes, from which a
	// secret is looked for in short texts and in bodies. A shorter one would
	// blot out innocent text, above all in results.
	minRedactText = 4
	minRedactBody = 8

	// maxRedacted bounds the forms that are remembered; tokens come and go.
	maxRedacted = 128
)

// redactor remembers the secrets that were used, in the forms in which they may
// come back, and blots them out of texts, headers and bodies. The zero value
// knows none. It is safe for concurrent use.
type redactor struct {
	mu    sync.RWMutex
	texts []string
	body  [][]byte
}

// add remembers secrets that must never be seen.
func (r *redactor) add(secrets ...string) { r.remember(true, secrets) }

// addText remembers values that belong in no error or log, but that a result
// may rightly hold, such as a user name.
func (r *redactor) addText(values ...string) { r.remember(false, values) }

func (r *redactor) remember(bodies bool, secrets []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range secrets {
		for _, form := range forms(s) {
			if len(form) >= minRedactText && !slices.Contains(r.texts, form) {
				r.texts = append(r.texts, form)
			}
			if b := []byte(form); bodies && len(b) >= minRedactBody &&
				!slices.ContainsFunc(r.body, func(x []byte) bool { return bytes.Equal(x, b) }) {
				r.body = append(r.body, b)
			}
		}
	}
	if n := len(r.texts) - maxRedacted; n > 0 {
		r.texts = slices.Delete(r.texts, 0, n)
	}
	if n := len(r.body) - maxRedacted; n > 0 {
		r.body = slices.Delete(r.body, 0, n)
	}
	// The longest first, so that a secret inside another leaves no rest behind.
	slices.SortStableFunc(r.texts, func(a, b string) int { return len(b) - len(a) })
	slices.SortStableFunc(r.body, func(a, b []byte) int { return len(b) - len(a) })
}

// forms returns the spellings in which an API may echo a secret.
func forms(s string) []string {
	out := []string{s}
	add := func(f string) {
		if !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	add(url.QueryEscape(s))
	add(url.PathEscape(s))
	if b, err := json.Marshal(s); err == nil {
		add(string(b[1 : len(b)-1]))
	}
	add(strings.ReplaceAll(s, "/", `\/`))
	return out
}

// text returns s without secrets.
func (r *redactor) text(s string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.texts {
		if strings.Contains(s, v) {
			s = strings.ReplaceAll(s, v, redacted)
		}
	}
	return s
}

// bytes returns b without secrets: b itself where it holds none.
func (r *redactor) bytes(b []byte) []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, v := range r.body {
		if bytes.Contains(b, v) {
			b = bytes.ReplaceAll(b, v, []byte(redacted))
		}
	}
	return b
}

// header returns a copy of h without secrets and without cookies, which are
// credentials of the session.
func (r *redactor) header(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		if name == "Set-Cookie" || name == "Set-Cookie2" {
			continue
		}
		clean := make([]string, len(values))
		for i, v := range values {
			clean[i] = r.text(v)
		}
		out[name] = clean
	}
	return out
}
