package batchreport

import (
	"math/rand/v2"
	"testing"
	"time"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func second(n int) time.Time { return noon.Add(time.Duration(n) * time.Second) }

func TestTimesAddUpToTheirUnion(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var s spans
		covered := [201]bool{}
		for range random.IntN(40) {
			from := random.IntN(200)
			to := min(from+random.IntN(20), 200)
			s.add(second(from), second(to))
			for i := from; i < to; i++ {
				covered[i] = true
			}
		}
		want, within := 0, 0
		for i, is := range covered {
			if is {
				want++
				if i >= 50 && i < 120 {
					within++
				}
			}
		}
		if got := s.length(); got != time.Duration(want)*time.Second {
			t.Fatalf("the union of %v is %s long, want %d s", s.list, got, want)
		}
		if got := s.within(span{second(50), second(120)}); got != time.Duration(within)*time.Second {
			t.Fatalf("%s of %v is within, want %d s", got, s.list, within)
		}
		for i := 1; i < len(s.list); i++ {
			if !s.list[i-1].to.Before(s.list[i].from) {
				t.Fatalf("%v is not sorted, or has two times that touch", s.list)
			}
		}
	}
}

func TestTheNumberOfSeparateTimesIsBounded(t *testing.T) {
	var s spans
	for i := range 5 * maxSpans {
		s.add(second(10*i), second(10*i+1))
	}
	s.add(second(5), second(3)) // ends before it begins
	s.add(time.Time{}, second(3))
	if len(s.list) != maxSpans || !s.list[0].from.Equal(noon) || !s.list[maxSpans-1].to.Equal(second(50*maxSpans-9)) {
		t.Errorf("%d times, from %s to %s", len(s.list), s.list[0].from, s.list[len(s.list)-1].to)
	}
}
