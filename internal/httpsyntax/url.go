package httpsyntax

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// The ways in which a path can leave the URL that it is appended to; see [CheckSegments].
var (
	ErrDotSegment = errors.New(`has a ".." segment`)
	ErrControl    = errors.New("has a percent-encoded control character")
	ErrEncodings  = errors.New("is percent-encoded several times")
)

// maxEncodings is how many layers of percent-encoding a path may have. A path with more
// is probably an attack.
const maxEncodings = 4

// disguises are other spellings of a dot and of a slash: a backslash, and overlong
// UTF-8.
var disguises = strings.NewReplacer(`\`, "/", "\xc0\xae", ".", "\xc0\xaf", "/")

// CheckSegments returns one of [ErrDotSegment], [ErrControl] and [ErrEncodings] if a
// server or proxy could read a ".." segment in the path: percent-encoded, also several
// times, with backslashes, with spaces around it, with a path parameter ("..;a=b"), or as
// overlong UTF-8.
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

// Unescape removes one layer of percent-encoding. A "%" without two hexadecimal digits
// stays.
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

// CheckURL checks that raw is an absolute http or https URL without user, password and
// fragment. Its errors show only the scheme of the URL, because the rest may contain a
// secret.
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
		return fmt.Errorf("is a URL with the scheme %s://, but must be https:// or http://%s", u.Scheme, example)
	case u.Hostname() == "":
		return errors.New("is a URL without a host" + example)
	case u.User != nil:
		return errors.New("contains a user name or password; write them under auth, as in auth: {type: basic, …}")
	case strings.Contains(raw, "#"):
		return errors.New("contains a #fragment, which is never sent to a server; remove it")
	}
	return nil
}

// CheckBaseURL is [CheckURL] for a URL that paths are appended to. It must not have a
// query or a ".." segment either.
func CheckBaseURL(raw string) error {
	if err := CheckURL(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return err // unreachable: it was parsed before
	case u.RawQuery != "" || u.ForceQuery:
		return errors.New("contains a query; write it in the calls, or under auth as {type: query, …}")
	case CheckSegments(u.EscapedPath()) != nil:
		return errors.New("contains a .. in its path; write the path without it")
	}
	return nil
}
