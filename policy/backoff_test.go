package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestDelayIsFullJitterWithAFloor(t *testing.T) {
	standard, _ := preset(t, "patsnap").Backoff("standard")
	none := func(int64) int64 { return 0 }
	for n, most := range []time.Duration{2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600} {
		if got := standard.Delay(n, none); got != time.Second {
			t.Errorf("after %d retries: shortest wait: got %s, want 1s", n, got)
		}
		if got, want := standard.Delay(n, longest), time.Second+most*time.Second; got != want || standard.Delay(n, nil) != want {
			t.Errorf("after %d retries: longest wait: got %s, want %s", n, got, want)
		}
	}
}

func TestDelayStaysInItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Backoff{
			Floor: time.Duration(rapid.Int64().Draw(t, "floor")),
			Base:  time.Duration(rapid.Int64().Draw(t, "base")),
			Cap:   time.Duration(rapid.Int64().Draw(t, "cap")),
		}
		n, drawn := rapid.Int().Draw(t, "n"), rapid.Int64().Draw(t, "drawn")
		got := b.Delay(n, func(n int64) int64 {
			if n < 1 {
				t.Fatalf("jitter was called with %d, want at least 1", n)
			}
			return drawn
		})
		most := saturatingAdd(max(b.Floor, 0), max(b.Cap, 0))
		if got < max(b.Floor, 0) || got > most {
			t.Fatalf("got a wait of %s, want one from %s to %s", got, b.Floor, most)
		}
	})
}

func TestDelayNeverOverflows(t *testing.T) {
	b := Backoff{Floor: math.MaxInt64, Base: math.MaxInt64, Cap: math.MaxInt64}
	if got := b.Delay(math.MaxInt, rand.Int64N); got != math.MaxInt64 {
		t.Errorf("got %d, want the longest duration", got)
	}
	if got := (Backoff{}).Delay(3, rand.Int64N); got != 0 {
		t.Errorf("the zero backoff waits %s", got)
	}
}

func TestTheWaitsOfOneCallGrow(t *testing.T) {
	standard, _ := preset(t, "patsnap").Backoff("standard")
	rapid.Check(t, func(t *rapid.T) {
		id := rapid.String().Draw(t, "id")
		last := time.Duration(0)
		for n := range 8 {
			d := standard.Delay(n, SeededJitter(id))
			if d <= last || d != standard.Delay(n, SeededJitter(id)) {
				t.Fatalf("call %q: a wait of %s follows one of %s", id, d, last)
			}
			last = d
		}
	})
}

func TestTheWaitsOfManyCallsAreSpreadEvenly(t *testing.T) {
	const calls, buckets = 20_000, 10
	var count [buckets]int
	for i := range calls {
		share := SeededJitter(fmt.Sprintf("line-%d", i))(2 * buckets)
		if share < buckets {
			t.Fatalf("line-%d gets %d of %d, less than a half", i, share, 2*buckets)
		}
		count[share-buckets]++
	}
	for i, c := range count {
		if c < calls/buckets*9/10 || c > calls/buckets*11/10 {
			t.Errorf("bucket %d of %d has %d of %d calls", i, buckets, c, calls)
		}
	}
	if SeededJitter("x")(0) != 0 || SeededJitter("x")(-1) != 0 {
		t.Error("the jitter of an empty range is not 0")
	}
}
