package httpsyntax

import "strings"

// IsToken reports whether s is a token of RFC 9110, 5.6.2: the name of a header or a
// method.
func IsToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		letter := 'a' <= b|0x20 && b|0x20 <= 'z' || '0' <= b && b <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", b) < 0 {
			return false
		}
	}
	return s != ""
}

// IsPrintable reports whether s contains no ASCII control character. With tabs, a tab is
// allowed. A line break would split a request.
func IsPrintable(s string, tabs bool) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && (c != '\t' || !tabs) || c == 0x7f {
			return false
		}
	}
	return true
}

// IsFraming reports whether a header decides where a request is sent or where it ends.
// Not even a credential may be written there. The case of letters does not matter.
func IsFraming(name string) bool {
	switch strings.ToLower(name) {
	case "host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection", "te", "trailer",
		"upgrade", "expect", "http2-settings":
		return true
	}
	return false
}

// IsReserved reports whether only the worker may set a header: it contains the
// credential, frames the request, or has a meaning for the HTTP client. A call that sets
// it is refused. The case of letters does not matter.
func IsReserved(name string) bool {
	switch name = strings.ToLower(name); name {
	case "authorization", "cookie", "cookie2", "accept-encoding":
		return true
	}
	return IsFraming(name) || strings.HasPrefix(name, "proxy-")
}

// IsClientSet reports whether the HTTP client itself sets a header. A configuration
// cannot add it. The case of letters does not matter.
func IsClientSet(name string) bool {
	switch name = strings.ToLower(name); name {
	case "content-type", "content-encoding", "accept-encoding":
		return true
	}
	return IsFraming(name) || strings.HasPrefix(name, "proxy-")
}

// IsIdempotencyKey reports whether a header is one by which APIs recognise a call that is
// sent twice. The case of letters does not matter.
func IsIdempotencyKey(name string) bool {
	return strings.EqualFold(name, "Idempotency-Key") || strings.EqualFold(name, "X-Idempotency-Key")
}

// IsSessionCookie reports whether an answer's header contains a credential of the
// session. No result may contain it. The case of letters does not matter.
func IsSessionCookie(name string) bool {
	return strings.EqualFold(name, "Set-Cookie") || strings.EqualFold(name, "Set-Cookie2")
}
