package policy

import (
	"strconv"
	"strings"
)

// maxCodeDigits is how many digits a code with an exponent may have when it is written
// out.
const maxCodeDigits = 64

// CanonicalCode returns an API's error code in the form that rules compare: decimal,
// without leading zeros, without an exponent, and without a fraction of zero. So
// 67200001, 67200001.0, "067200001" and 6.7200001e7 are the same code. Every spelling
// of zero gives "", which means no code. A text that is not a number is returned
// without the space around it: it is a code, but no list of numbers contains it. No
// digit is ever lost.
func CanonicalCode(s string) string {
	s = strings.TrimSpace(s)
	if isPlainNumber(s) {
		return s
	}
	n, ok := splitNumber(s)
	switch {
	case !ok:
		return s
	case n.isZero():
		return ""
	}
	if code, ok := n.code(); ok {
		return code
	}
	return s // too long to be written out
}

// isPlainNumber reports whether s is canonical already, which is the usual case.
func isPlainNumber(s string) bool {
	if s == "" || s[0] == '0' {
		return false
	}
	return onlyDigits(s)
}

func onlyDigits(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

// number is a decimal number, split into its parts.
type number struct {
	negative bool
	whole    string
	fraction string
	exponent int
}

// splitNumber splits a number, in any spelling of JSON or YAML, into its parts.
func splitNumber(s string) (number, bool) {
	var n number
	if s != "" && (s[0] == '-' || s[0] == '+') {
		n.negative = s[0] == '-'
		s = s[1:]
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		exponent := s[i+1:]
		digits := strings.TrimLeft(exponent, "+-")
		if digits == "" || !onlyDigits(digits) || len(exponent)-len(digits) > 1 {
			return n, false
		}
		value, err := strconv.Atoi(exponent)
		if err != nil {
			// Far out of range: any other value out of range will do.
			value = 1 << 30
			if exponent[0] == '-' {
				value = -value
			}
		}
		n.exponent = value
		s = s[:i]
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if whole+fraction == "" || !onlyDigits(whole) || !onlyDigits(fraction) {
		return n, false
	}
	n.whole, n.fraction = strings.TrimLeft(whole, "0"), strings.TrimRight(fraction, "0")
	return n, true
}

func (n number) isZero() bool { return n.whole == "" && n.fraction == "" }

// code returns the number in canonical form, or false if that would be too long.
func (n number) code() (string, bool) {
	if n.exponent > maxCodeDigits || n.exponent < -maxCodeDigits {
		return "", false
	}
	if n.exponent != 0 {
		n.shift()
	}
	out := n.whole
	if out == "" {
		out = "0"
	}
	if n.fraction != "" {
		out += "." + n.fraction
	}
	if n.negative {
		out = "-" + out
	}
	return out, true
}

// shift moves the decimal point by the exponent, and sets the exponent to 0.
func (n *number) shift() {
	digits := n.whole + n.fraction
	point := len(n.whole) + n.exponent
	switch {
	case point <= 0:
		digits = strings.Repeat("0", -point) + digits
		point = 0
	case point > len(digits):
		digits += strings.Repeat("0", point-len(digits))
	}
	n.whole = strings.TrimLeft(digits[:point], "0")
	n.fraction = strings.TrimRight(digits[point:], "0")
	n.exponent = 0
}
