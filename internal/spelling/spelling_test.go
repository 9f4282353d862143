package spelling_test

import (
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/internal/spelling"
)

func TestTheNearestWordDiffersInAtMostTwoLetters(t *testing.T) {
	known := []string{"base_url", "policy", "tls"}
	for word, want := range map[string]string{
		"base_ulr": "base_url", "polcy": "policy", "policy": "policy", "plc": "tls", "retries": "", "": "", "x": "",
		strings.Repeat("policy", 20): "",
	} {
		if got := spelling.Nearest(word, known); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
