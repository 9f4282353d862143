package callsfile

import (
	"strings"
	"testing"
)

func TestANameIsPlainIfItHasFewKindsOfCharacters(t *testing.T) {
	for name, want := range map[string]bool{
		"": false, "path": true, "_id": true, "Zahl²": true, "Größe (cm)": true, "a/b.c%#-": true, " path": false, "-x": false,
		"a'b": false, "a\nb": false, "a\xff": false, strings.Repeat("é", 64): true, strings.Repeat("é", 65): false,
	} {
		if got := plainColumn(name); got != want {
			t.Errorf("%q: got %t, want %t", name, got, want)
		}
	}
}
