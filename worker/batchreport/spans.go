package batchreport

import (
	"slices"
	"time"
)

// maxSpans bounds how many separate spans are kept: then the two with the shortest time
// between them become one.
const maxSpans = 512

// span is a time from its begin to its end.
type span struct{ from, to time.Time }

func (s span) length() time.Duration { return max(s.to.Sub(s.from), 0) }

// and returns the time that both spans have.
func (s span) and(o span) span {
	both := s
	if o.from.After(both.from) {
		both.from = o.from
	}
	if o.to.Before(both.to) {
		both.to = o.to
	}
	return both
}

// spans is a union of times. The zero value is empty.
type spans struct{ list []span } // sorted, without overlaps

// add adds a time. One that ends before it begins is not added.
func (s *spans) add(from, to time.Time) {
	if from.IsZero() || to.Before(from) {
		return
	}
	// first is the first span that does not end before the time, last is after the last one
	// that does not begin after it.
	first, _ := slices.BinarySearchFunc(s.list, from, func(o span, t time.Time) int { return o.to.Compare(t) })
	last := first
	for last < len(s.list) && !s.list[last].from.After(to) {
		last++
	}
	one := span{from, to}
	if last > first {
		if s.list[first].from.Before(from) {
			one.from = s.list[first].from
		}
		if s.list[last-1].to.After(to) {
			one.to = s.list[last-1].to
		}
	}
	s.list = slices.Replace(s.list, first, last, one)
	if len(s.list) > maxSpans {
		s.join()
	}
}

// join makes the two spans with the shortest time between them one.
func (s *spans) join() {
	at := 0
	gap := func(i int) time.Duration { return s.list[i+1].from.Sub(s.list[i].to) }
	for i := range len(s.list) - 1 {
		if gap(i) < gap(at) {
			at = i
		}
	}
	s.list = slices.Replace(s.list, at, at+2, span{s.list[at].from, s.list[at+1].to})
}

// within returns for how long the time and the union overlap.
func (s *spans) within(o span) (total time.Duration) {
	if s == nil {
		return 0
	}
	for _, one := range s.list {
		total += one.and(o).length()
	}
	return total
}

// length returns how long the union is.
func (s *spans) length() (total time.Duration) {
	for _, one := range s.list {
		total += one.length()
	}
	return total
}
