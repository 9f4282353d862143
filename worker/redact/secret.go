package redact

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The shortest values, in characters, that are removed wherever they stand: one
// with a digit or a sign in it, and one of letters alone.
const (
	minWide        = 8
	minWideLetters = 12
)

// maxNeedle is the longest text that strings.Index compares by vector
// instructions on every machine; a longer one is searched for at a fraction of
// the speed.
const maxNeedle = 32

// secret is one text to be removed.
type secret struct {
	value string
	// words are what a secret that is not wide stands behind, in lower case.
	words []string
	// wide tells that it is removed wherever it stands.
	wide bool
	// digits tells that it is a whole number: within a longer one it is not meant.
	digits bool
	// once tells that the secret has a backslash or a percent sign in it, so that
	// an escape of an escape has to be told from one of the secret's own.
	once bool
	// needle is value[offset:offset+len(needle)].
	needle string
	offset int
}

// Short reports whether a value is so short, or so much like a word, that it is
// removed only where credentials stand.
func Short(value string) bool { return !wide(trim(value)) }

func wide(value string) bool {
	n := utf8.RuneCountInString(value)
	if n >= minWideLetters {
		return true
	}
	return n >= minWide && strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsSpace(r) })
}

func (x *secret) prepare() {
	x.wide = wide(x.value)
	x.digits = strings.Trim(x.value, "0123456789") == ""
	x.once = strings.ContainsAny(x.value, `\%`)
	// The end: tokens of one kind begin alike.
	x.offset = max(0, len(x.value)-maxNeedle)
	x.needle = x.value[x.offset:]
}

// trim removes what HTTP does not send around a value, and what an editor may
// put at the beginning or the end of a file.
func trim(value string) string {
	return strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// derive returns the secrets that are in a value.
func derive(value string, words []string) []secret {
	value = trim(value)
	if value == "" {
		return nil
	}
	low := make([]string, 0, len(words))
	for _, w := range words {
		if w != "" {
			low = append(low, strings.ToLower(w))
		}
	}
	out := []secret{{value: value, words: low}}
	if head, rest, ok := behindScheme(value); ok {
		out = append(out, derive(rest, slices.Concat(low, []string{head}))...)
		if strings.EqualFold(head, "basic") {
			out = append(out, pair(rest)...)
		}
	}
	for field := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == ';' || unicode.IsSpace(r) }) {
		// As in: Token token="…", email="…"
		name, inner, ok := strings.Cut(field, "=")
		if inner = strings.Trim(inner, `"'`); ok && inner != "" && (NamesCredential(name) || slices.Contains(low, "cookie")) {
			out = append(out, secret{value: inner, words: slices.Concat(low, []string{strings.ToLower(name)})})
		}
	}
	if strings.ContainsAny(value, `\%`) {
		// See secret.once: what was escaped twice is one escape of these.
		out = append(out, secret{value: url.QueryEscape(value), words: low})
		if quoted, err := json.Marshal(value); err == nil {
			out = append(out, secret{value: string(quoted[1 : len(quoted)-1]), words: low})
		}
	}
	if strings.Contains(value, " ") {
		out = append(out, secret{value: strings.ReplaceAll(value, " ", "+"), words: low})
	}
	if misread := latin1(value); misread != value {
		out = append(out, secret{value: misread, words: low})
	}
	return out
}

// behindScheme splits "Bearer abc" in two. Of two words, the second of which looks
// like a credential, any first one is a scheme.
func behindScheme(value string) (scheme, rest string, ok bool) {
	i := strings.IndexFunc(value, unicode.IsSpace)
	if i < 0 {
		return "", "", false
	}
	scheme, rest = value[:i], trim(value[i:])
	if !isScheme(scheme) && (strings.ContainsFunc(rest, unicode.IsSpace) || !wide(rest)) {
		return "", "", false
	}
	return strings.ToLower(scheme), rest, rest != ""
}

// isScheme reports whether a word names an authentication scheme: one of those
// registered for HTTP (RFC 9110, 16.4.1), or one of a vendor's.
func isScheme(word string) bool {
	word = strings.ToLower(word)
	switch word {
	case "basic", "bearer", "digest", "dpop", "hoba", "mutual", "negotiate", "ssws", "jwt", "vapid", "gnap", "concealed":
		return true
	}
	return NamesCredential(word)
}

// NamesCredential reports whether a name is one that credentials go by.
func NamesCredential(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"token", "key", "auth", "secret", "password", "passwd", "signature", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// pair returns the password in the base64 of user:password (RFC 7617).
func pair(encoded string) []secret {
	plain, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil
	}
	user, password, ok := strings.Cut(string(plain), ":")
	if !ok || password == "" || !utf8.Valid(plain) {
		return nil
	}
	return derive(password, []string{user})
}

// latin1 is how a server reads a value that takes its bytes for ISO 8859-1, as
// HTTP once said.
func latin1(value string) string {
	runes := make([]rune, len(value))
	for i := range len(value) {
		runes[i] = rune(value[i])
	}
	return string(runes)
}
