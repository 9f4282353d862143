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

// The minimum lengths, in characters, of the values that are removed everywhere: with a
// digit or a sign among them, and of letters only.
const (
	minLength        = 8
	minLengthLetters = 12
)

// maxNeedle is the longest text for which strings.Index uses vector instructions on every
// machine. The search for a longer text is several times slower.
const maxNeedle = 32

// secret is one text to remove.
type secret struct {
	value string
	// words are the names that may precede the secret, in lower case. They are used only
	// if everywhere is false.
	words []string
	// everywhere reports that the secret is removed in every position.
	everywhere bool
	// isNumber reports that the secret is an integer. The same digits within a longer
	// number are not the secret.
	isNumber bool
	// unescapeOnce reports that the secret contains a backslash or a percent sign. Then
	// text is decoded once only: a second decoding would decode the secret itself.
	unescapeOnce bool
	// needle is value[offset:offset+len(needle)].
	needle string
	offset int
}

// Short reports whether a value is so short, or so similar to a word, that it is removed
// only in the position of a credential.
func Short(value string) bool { return !isLong(trim(value)) }

// isLong reports whether a value is removed everywhere.
func isLong(value string) bool {
	n := utf8.RuneCountInString(value)
	if n >= minLengthLetters {
		return true
	}
	return n >= minLength && strings.ContainsFunc(value, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsSpace(r) })
}

func (x *secret) prepare() {
	x.everywhere = isLong(x.value)
	x.isNumber = strings.Trim(x.value, "0123456789") == ""
	x.unescapeOnce = strings.ContainsAny(x.value, `\%`)
	// Search for the end of the value: many tokens have the same beginning.
	x.offset = max(0, len(x.value)-maxNeedle)
	x.needle = x.value[x.offset:]
}

// trim removes what HTTP does not send at the ends of a value, and what an editor may
// add to the beginning or the end of a file.
func trim(value string) string {
	return strings.TrimFunc(value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '\ufeff' })
}

// derive returns the value and the secrets that it contains.
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
	if head, rest, ok := cutScheme(value); ok {
		out = append(out, derive(rest, slices.Concat(low, []string{head}))...)
		if strings.EqualFold(head, "basic") {
			out = append(out, basicPassword(rest)...)
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
		// A text with this value escaped twice contains one of these escaped once; see
		// secret.unescapeOnce.
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

// cutScheme splits a value such as "Bearer abc". If the value has two words and the
// second looks like a credential, the first is a scheme, whatever it is.
func cutScheme(value string) (scheme, rest string, ok bool) {
	i := strings.IndexFunc(value, unicode.IsSpace)
	if i < 0 {
		return "", "", false
	}
	scheme, rest = value[:i], trim(value[i:])
	if !isScheme(scheme) && (strings.ContainsFunc(rest, unicode.IsSpace) || !isLong(rest)) {
		return "", "", false
	}
	return strings.ToLower(scheme), rest, rest != ""
}

// isScheme reports whether a word names an authentication scheme: one registered for
// HTTP (RFC 9110, 16.4.1), or one of a vendor.
func isScheme(word string) bool {
	word = strings.ToLower(word)
	switch word {
	case "basic", "bearer", "digest", "dpop", "hoba", "mutual", "negotiate", "ssws", "jwt", "vapid", "gnap", "concealed":
		return true
	}
	return NamesCredential(word)
}

// NamesCredential reports whether a name is a common one for a credential.
func NamesCredential(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"token", "key", "auth", "secret", "password", "passwd", "signature", "credential"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// basicPassword returns the secrets of the password in the base64 form of user:password
// (RFC 7617).
func basicPassword(encoded string) []secret {
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

// latin1 returns a value as a server reads it that decodes its bytes as ISO 8859-1, the
// charset of header fields in the first versions of HTTP.
func latin1(value string) string {
	runes := make([]rune, len(value))
	for i := range len(value) {
		runes[i] = rune(value[i])
	}
	return string(runes)
}
