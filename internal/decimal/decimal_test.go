package decimal_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/decimal"
)

func TestAmountsAddUpWithoutRounding(t *testing.T) {
	var sum decimal.Sum
	for range 10 {
		if !sum.Add("0.1") {
			t.Fatal("0.1 is not a number")
		}
	}
	sum.AddTimes(1_500_000, 2)
	other := sum
	sum.AddSum(decimal.Sum{})
	other.AddSum(sum)
	if sum.String() != "4" || other.String() != "8" || sum.Per(3) != "1.333333" {
		t.Errorf("got %s, %s, %s", sum, other, sum.Per(3))
	}
}

func TestTextThatIsNotADecimalNumberIsNotAdded(t *testing.T) {
	var sum decimal.Sum
	for _, text := range []string{"", "free", "1e9", "1/3", "0x10", "1_000", strings.Repeat("9", 65)} {
		if sum.Add(text) {
			t.Errorf("%q was added", text)
		}
	}
	if !sum.IsEmpty() || sum.String() != "" || sum.Per(1) != "" {
		t.Errorf("got %q, %q", sum, sum.Per(1))
	}
}
