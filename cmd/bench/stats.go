package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// spread is the median of some values, with the least and the greatest.
type spread struct{ median, min, max float64 }

// spreadOf must get at least one value.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return spread{median, sorted[0], sorted[len(sorted)-1]}
}

// of returns the spread of a value of some samples.
func of(samples []sample, value func(sample) float64) spread {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = value(s)
	}
	return spreadOf(values)
}

// ratiosOf returns how many times as fast as a peer callq was, in each round.
func (o *outcome) ratiosOf(callq, peer string) spread {
	values := make([]float64, len(o.samples[callq]))
	for i, s := range o.samples[callq] {
		values[i] = s.rate / o.samples[peer][i].rate
	}
	return spreadOf(values)
}

// ratioText returns a ratio as "0.95 (0.90–1.02)".
func (s spread) ratioText() string {
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.median, s.min, s.max)
}

// rateText returns a rate as "9,812 (9,100–10,400)".
func (s spread) rateText() string {
	return fmt.Sprintf("%s (%s–%s)", grouped(s.median), grouped(s.min), grouped(s.max))
}

// grouped returns a number as "12,345".
func grouped(x float64) string {
	digits := strconv.FormatFloat(x, 'f', 0, 64)
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
