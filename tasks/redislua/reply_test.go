package redislua

import (
	"math"
	"strconv"
	"testing"
)

func FuzzReply(f *testing.F) {
	f.Add("9223372036854775807")
	f.Add("-0")
	f.Add("1e3")
	f.Fuzz(func(t *testing.T, text string) {
		n := Number(text)
		if again, err := strconv.ParseInt(text, 10, 64); err == nil && again != n {
			t.Errorf("%q was read as %d", text, n)
		}
		if h := Hash([]any{text, text, text}); len(h) != 1 || h[text] != text {
			t.Errorf("got %q", h)
		}
	})
}

func TestATimeBeyondTheCalendarIsZero(t *testing.T) {
	for text, year := range map[string]int{"0": 1, "-1": 1, "253402300799999": 9999, "253402300800000": 1, strconv.FormatInt(math.MaxInt64, 10): 1} {
		if got := Milli(text).Year(); got != year {
			t.Errorf("Milli(%q): got the year %d, want %d", text, got, year)
		}
	}
}

func TestWholeAcceptsOnlyTheFormThatCallqWrites(t *testing.T) {
	for text, want := range map[string]bool{
		"0": true, "7": true, "10": true, "11": false, "-1": false, "": false, "07": false, "+7": false, "7.0": false, "1e1": false, " 7": false, "-0": false,
	} {
		if got := Whole(text, 0, 10); got != want {
			t.Errorf("Whole(%q, 0, 10): got %v, want %v", text, got, want)
		}
	}
}

func TestRepliesOfAnotherTypeReadAsEmpty(t *testing.T) {
	if Text(nil) != "" || Text([]any{"a"}) != "" || Text(int64(7)) != "7" || Text("a") != "a" {
		t.Errorf("texts: %q, %q, %q, %q", Text(nil), Text([]any{"a"}), Text(int64(7)), Text("a"))
	}
	if Number(nil) != 0 || Number("x") != 0 || Number(int64(7)) != 7 || Number("7") != 7 {
		t.Errorf("numbers: %d, %d, %d, %d", Number(nil), Number("x"), Number(int64(7)), Number("7"))
	}
	if h := Hash(nil); len(h) != 0 {
		t.Errorf("a missing reply: got %q", h)
	}
	if h := Hash([]any{"a", "1", "b"}); len(h) != 1 || h["a"] != "1" {
		t.Errorf("a list of odd length: got %q", h)
	}
}
