package httpsyntax

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The ways in which a path tries to leave where it is appended to; see [CheckSegments].
var (
	ErrDotSegment = errors.New(`has a ".." segment`)
	ErrControl    = errors.New("has a percent-encoded control character")
	ErrEncodings  = errors.New("is percent-encoded several times over")
)

// maxEncodings is how many layers of percent-encoding a path may have. Nobody means
// well by more.
const maxEncodings = 4

// disguises are other spellings of a dot and of a slash: a backslash, and overlong
// UTF-8.
var disguises = strings.NewReplacer(`\`, "/", "\xc0\xae", ".", "\xc0\xaf", "/")

// CheckSegments returns one of [ErrDotSegment], [ErrControl] and [ErrEncodings] where
// some server or proxy on the way could read a ".." segment in a path: percent-encoded,
// more than once, with backslashes, with spaces around it, with a path parameter
// ("..;a=b"), as overlong UTF-8.
func CheckSegments(path string) error {
	if !strings.ContainsAny(path, `%\`) && !strings.Contains(path, "..") {
		return nil
	}
	for range maxEncodings {
		for segment := range strings.SplitSeq(disguises.Replace(path), "/") {
			if segment, _, _ = strings.Cut(segment, ";"); strings.TrimSpace(segment) == ".." {
				return ErrDotSegment
			}
		}
		decoded := Unescape(path)
		if decoded == path {
			return nil
		}
		if path = decoded; !IsPrintable(path, false) {
			return ErrControl
		}
	}
	return ErrEncodings
}

// Unescape takes off one layer of percent-encoding and leaves a lone "%" alone.
func Unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if IsEscape(s, i) {
			out = append(out, unhex(s[i+1])<<4|unhex(s[i+2]))
			i += 2
		} else {
			out = append(out, s[i])
		}
	}
	return string(out)
}

// IsEscape reports whether a "%" with two hexadecimal digits begins at s[i].
func IsEscape(s string, i int) bool {
	return s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2])
}

func isHex(b byte) bool { return '0' <= b && b <= '9' || 'a' <= b|0x20 && b|0x20 <= 'f' }

func unhex(b byte) byte {
	if b <= '9' {
		return b - '0'
	}
	return b | 0x20 - 'a' + 10
}

const example = "; write one as in https://api.example.com"

// CheckURL accepts an absolute http or https URL without user, password and fragment.
// Of the URL its errors show the scheme alone: the rest may hold a secret.
func CheckURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return errors.New("is empty" + example)
	case err != nil || u.Hostname() == "" && u.Scheme == "":
		return errors.New("is not an absolute URL" + example)
	case u.Scheme == "":
		return errors.New("is a URL without a scheme, https:// or http://" + example)
	case u.Scheme != "https" && u.Scheme != "http":
		return fmt.Errorf("is a URL of the scheme %s://, and calls go to https:// or http://%s", u.Scheme, example)
	case u.Hostname() == "":
		return errors.New("is a URL without a host" + example)
	case u.User != nil:
		return errors.New("holds a user name or password; put them under auth, as in auth: {type: basic, …}")
	case strings.Contains(raw, "#"):
		return errors.New("holds a #fragment, which no server is sent; take it out")
	}
	return nil
}

// CheckBaseURL is [CheckURL] for a URL that paths are appended to: it has no query and
// no ".." segment either.
func CheckBaseURL(raw string) error {
	if err := CheckURL(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return err // unreachable: it was parsed before
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("holds a query; put it into the calls, or under auth as {type: query, …}")
	case CheckSegments(u.EscapedPath()) != nil:
		return errors.New("holds a .. in its path; write the path that is meant")
	}
	return nil
}
