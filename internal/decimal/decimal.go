// Package decimal adds up amounts of money without rounding.
//
//	var sum decimal.Sum
//	sum.Add("0.10")
//	sum.Add("0.2")
//	fmt.Println(sum.String()) // 0.3
package decimal

import (
	"math/big"
	"strings"
)

const (
	// longest bounds the digits of an amount: it comes from an API.
	longest = 64
	// digits is how many digits after the point are kept of a quotient.
	digits = 6
)

// Sum is a sum of decimal numbers. The zero value is the sum of none. It is not safe for
// concurrent use.
type Sum struct{ n *big.Rat }

// Add adds a decimal number, as in "12.50", and reports whether the text is one. A number
// with an exponent is not.
func (s *Sum) Add(text string) bool {
	text = strings.TrimSpace(text)
	if len(text) > longest || strings.ContainsAny(text, "eEpPxX/_") {
		return false
	}
	n, ok := new(big.Rat).SetString(text)
	if ok {
		s.add(n)
	}
	return ok
}

// AddTimes adds count times a number of millionths.
func (s *Sum) AddTimes(micros, count int64) {
	n := new(big.Rat).SetInt64(micros)
	s.add(n.Mul(n, big.NewRat(count, 1_000_000)))
}

// AddSum adds another sum.
func (s *Sum) AddSum(o Sum) {
	if o.n != nil {
		s.add(o.n)
	}
}

func (s *Sum) add(n *big.Rat) {
	sum := new(big.Rat) // a copy of s keeps its own
	if s.n != nil {
		sum.Set(s.n)
	}
	s.n = sum.Add(sum, n)
}

// IsEmpty reports whether nothing was added.
func (s Sum) IsEmpty() bool { return s.n == nil }

// String returns the sum without zeros at its end; "" if nothing was added.
func (s Sum) String() string {
	if s.n == nil {
		return ""
	}
	return text(s.n, longest)
}

// Per returns the sum divided by n, rounded; "" if nothing was added or n is 0.
func (s Sum) Per(n int64) string {
	if s.n == nil || n == 0 {
		return ""
	}
	return text(new(big.Rat).Quo(s.n, new(big.Rat).SetInt64(n)), digits)
}

func text(n *big.Rat, most int) string {
	written := n.FloatString(most)
	if !strings.Contains(written, ".") {
		return written
	}
	return strings.TrimRight(strings.TrimRight(written, "0"), ".")
}
