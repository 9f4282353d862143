package limit_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/worker/limit"
)

func TestParseReadsLimits(t *testing.T) {
	for text, want := range map[string]string{
		"10/s burst 20":                    "10 per 1 second burst 20",
		"5000/day":                         "5000 per 1 day burst 0",
		"1000/h reset 08:00 Asia/Shanghai": "1000 per 1 hour burst 0 reset 08:00 Asia/Shanghai",
		"1000/day reset 8:00":              "1000 per 1 day burst 0 reset 08:00 UTC",
		"100/15m":                          "100 per 15 minute burst 0",
		"100 / 2 h":                        "100 per 2 hour burst 0",
		"1/week":                           "1 per 1 week burst 0",
		"1/month":                          "1 per 1 month burst 0",
	} {
		l, err := limit.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		got := fmt.Sprintf("%d per %d %s burst %d", l.Count, l.Per.N, l.Per.Unit, l.Burst)
		if l.Reset != nil {
			got += fmt.Sprintf(" reset %02d:%02d %s", l.Reset.Hour, l.Reset.Minute, l.Reset.Location)
		}
		if got != want || l.Text != text {
			t.Errorf("%s: got %s, want %s", text, got, want)
		}
	}
}

func TestParseBudgetReadsBudgets(t *testing.T) {
	for text, want := range map[string]limit.Budget{
		"100 USD/month":      {Micros: 100_000_000, Currency: "USD", Per: limit.Period{N: 1, Unit: limit.Month}},
		"0.000001 CNY/day":   {Micros: 1, Currency: "CNY", Per: limit.Period{N: 1, Unit: limit.Day}},
		"20000 calls/day":    {Calls: 20_000, Per: limit.Period{N: 1, Unit: limit.Day}},
		"1 call/2h":          {Calls: 1, Per: limit.Period{N: 2, Unit: limit.Hour}},
		"1000000000 USD/day": {Micros: 1_000_000_000_000_000, Currency: "USD", Per: limit.Period{N: 1, Unit: limit.Day}},
	} {
		want.Text = text
		if got, err := limit.ParseBudget(text); err != nil || got != want {
			t.Errorf("%s: got %+v, %v, want %+v", text, got, err, want)
		}
	}
}

func TestParsedLimitsAndBudgetsAreInRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`\d{1,14}(\.\d{1,7})?( (USD|calls|EUR))?/\d{0,3}(s|m|h|day|week|month|x)( burst \d{1,4})?( reset \d{1,2}:\d{2}( UTC)?)?`).Draw(t, "text")
		if l, err := limit.Parse(text); err == nil && (l.Count < 1 || l.Per.N < 1 || l.Burst < 0 || l.Reset != nil && l.Burst != 0) {
			t.Errorf("%s: %+v", text, l)
		}
		if b, err := limit.ParseBudget(text); err == nil && (b.Calls > 0) == (b.Micros > 0) {
			t.Errorf("%s: %+v", text, b)
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, text := range []string{"10/s burst 20", "1000/h reset 08:00 Asia/Shanghai", "adaptive", "100 USD/month", "1/day reset 00:00 ../../etc/passwd"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := limit.Parse(text); err == nil && l.Adaptive == (l.Count > 0) {
			t.Errorf("%q: %+v", text, l)
		}
		if b, err := limit.ParseBudget(text); err == nil && b.Per.N < 1 {
			t.Errorf("%q: %+v", text, b)
		}
	})
}

func FuzzParseBilled(f *testing.F) {
	for _, text := range []string{"0.01", " 1 ", "1e9", "1e-400", "1e309", "-0", "NaN", "Inf", "0x1p-2", "1_000", "0.0000001", "999999999.9999999", "1,5", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		// A cost from an API must neither overflow nor be negative.
		micros, ok := limit.ParseBilled(text)
		if micros < 0 || micros > 1_000_000_000_000_000 || !ok && micros != 0 {
			t.Errorf("%q: %d, %v", text, micros, ok)
		}
		exact, err := limit.ParseMicros(text)
		if err != nil {
			return
		}
		if again, err := limit.ParseMicros(limit.FormatMicros(exact)); exact < 0 || err != nil || again != exact {
			t.Errorf("%q: %d, %d, %v", text, exact, again, err)
		}
	})
}
