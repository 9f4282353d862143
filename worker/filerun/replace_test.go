package filerun

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// resultLine returns a line of a results file with a body of n bytes.
func resultLine(key string, n int) string {
	return fmt.Sprintf(`{"key":%q,"state":"done","digest":"00000000000000000000000000000000","body":%q}`, key, strings.Repeat("x", n)) + "\n"
}

// openResultsOf opens a results file with the given content.
func openResultsOf(t *testing.T, text string) *resultsFile {
	t.Helper()
	name := filepath.Join(t.TempDir(), "out")
	if err := os.WriteFile(name, []byte(text), 0o640); err != nil {
		t.Fatal(err)
	}
	out, err := openResults(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.close() })
	return out
}

func content(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(text)
}

func TestReplacedResultsAreMovedCompletelyAfterAnyKill(t *testing.T) {
	a, b, c, before := resultLine("a", 10), resultLine("b", 100_000), resultLine("c", 10), resultLine("z", 70_000)
	for name, old := range map[string]struct{ there, want string }{
		"no file":                          {"", b + c},
		"other results in the file":        {before, before + b + c},
		"moved already":                    {before + b + c, before + b + c},
		"moved without the last newline":   {before + b + strings.TrimSuffix(c, "\n"), before + b + c},
		"one result moved":                 {before + b, before + b + b + c},
		"half a result moved":              {before + b[:70_000], before + b + c},
		"first byte moved":                 {b[:1], b + c},
		"an earlier newline missing":       {strings.TrimSuffix(before, "\n"), before + b + c},
		"same results moved before others": {b + c + before, b + c + before + b + c},
	} {
		out := openResultsOf(t, a+b+c)
		if old.there != "" {
			if err := os.WriteFile(out.replaced(), []byte(old.there), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := out.replace([]int{2, 3}, nil); err != nil {
			t.Fatal(err)
		}
		if got := content(t, out.replaced()); got != old.want {
			t.Errorf("%s: got %d bytes of replaced results, want %d", name, len(got), len(old.want))
		}
		if got := content(t, out.name); got != a {
			t.Errorf("%s: got %d bytes of remaining results, want %d", name, len(got), len(a))
		}
	}
}

func TestBlankLinesDoNotChangeWhichResultIsReplaced(t *testing.T) {
	a, b, c := resultLine("a", 10), resultLine("b", 10), resultLine("c", 10)
	out := openResultsOf(t, "\n"+a+" \r\n\n"+b+c)
	if err := out.replace([]int{2}, nil); err != nil {
		t.Fatal(err)
	}
	if got := content(t, out.replaced()); got != b {
		t.Errorf("got replaced results %q, want the second result", got)
	}
	if got := content(t, out.name); got != a+c {
		t.Errorf("got remaining results %q, want the first and the third", got)
	}
}

func TestResultsAreNotRemovedIfTheyCannotBeMoved(t *testing.T) {
	a, b := resultLine("a", 10), resultLine("b", 10)
	out := openResultsOf(t, a+b)
	if err := os.Mkdir(out.replaced(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := out.replace([]int{1}, nil); err == nil {
		t.Error("got no error")
	}
	if got := content(t, out.name); got != a+b {
		t.Errorf("got results %q, want %q", got, a+b)
	}
	if rest, err := filepath.Glob(filepath.Join(filepath.Dir(out.name), ".callq-*")); err != nil || len(rest) > 0 {
		t.Errorf("got temporary files %v, %v; want none", rest, err)
	}
}
