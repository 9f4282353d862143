package shellword

import "testing"

func TestAShellReadsEachWordAsOne(t *testing.T) {
	for word, want := range map[string]string{
		"calls.jsonl": "calls.jsonl", "-o": "-o", "a b": "'a b'", "it's": `'it'\''s'`, "": "''", "$HOME": "'$HOME'", "a;b": "'a;b'",
	} {
		if got := Quote(word); got != want {
			t.Errorf("%q: got %s, want %s", word, got, want)
		}
	}
}
