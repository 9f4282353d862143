package glob_test

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/internal/glob"
)

func TestAStarStandsForAnyText(t *testing.T) {
	for _, tc := range []struct {
		pattern, text string
		want          bool
	}{
		{"", "", true}, {"", "a", false}, {"*", "", true}, {"*", "a/b", true}, {"a*", "a", true}, {"a*", "b", false},
		{"/a/*/c", "/a/b/b/c", true}, {"/a/*/c", "/a/c", false}, {"*b*b", "abab", true}, {"*b*b", "aba", false}, {"a**", "abc", true},
	} {
		if got := glob.Match(tc.pattern, tc.text); got != tc.want {
			t.Errorf("pattern %q, text %q: got %v, want %v", tc.pattern, tc.text, got, tc.want)
		}
	}
}

func TestGlobAgreesWithItsDefinition(t *testing.T) {
	// The definition: the pieces between the stars follow each other, the first at the start, the last at the end.
	var slow func(p, s string) bool
	slow = func(p, s string) bool {
		if p == "" {
			return s == ""
		}
		if p[0] == '*' {
			return slow(p[1:], s) || s != "" && slow(p, s[1:])
		}
		return s != "" && p[0] == s[0] && slow(p[1:], s[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab/*]{0,8}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab/]{0,10}`).Draw(t, "text")
		if got, want := glob.Match(p, s), slow(p, s); got != want {
			t.Fatalf("pattern %q, text %q: got %v, want %v", p, s, got, want)
		}
	})
}
