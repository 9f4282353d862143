package filerun

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// resultLine is a line of a results file of n bytes or some more.
func resultLine(key string, n int) string {
	return fmt.Sprintf(`{"key":%q,"state":"done","digest":"00000000000000000000000000000000","body":%q}`, key, strings.Repeat("x", n)) + "\n"
}

// openResultsOf opens a results file with a text.
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

func TestAReplacedResultIsMovedWholeWhateverAKillHasLeft(t *testing.T) {
	a, b, c, before := resultLine("a", 10), resultLine("b", 100_000), resultLine("c", 10), resultLine("z", 70_000)
	for name, old := range map[string]struct{ there, want string }{
		"there is no file yet":                 {"", b + c},
		"others are in the file":               {before, before + b + c},
		"they were moved already":              {before + b + c, before + b + c},
		"they were moved, but for the end":     {before + b + strings.TrimSuffix(c, "\n"), before + b + c},
		"one was moved":                        {before + b, before + b + b + c},
		"one was moved half":                   {before + b[:70_000], before + b + c},
		"the first one's beginning was moved":  {b[:1], b + c},
		"an earlier one lacks only its end":    {strings.TrimSuffix(before, "\n"), before + b + c},
		"the same were replaced, others since": {b + c + before, b + c + before + b + c},
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
			t.Errorf("%s: %d bytes were kept, want %d", name, len(got), len(old.want))
		}
		if got := content(t, out.name); got != a {
			t.Errorf("%s: %d bytes are left, want %d", name, len(got), len(a))
		}
	}
}

func TestBlankLinesOfAResultsFileDoNotChangeWhichResultIsReplaced(t *testing.T) {
	a, b, c := resultLine("a", 10), resultLine("b", 10), resultLine("c", 10)
	out := openResultsOf(t, "\n"+a+" \r\n\n"+b+c)
	if err := out.replace([]int{2}, nil); err != nil {
		t.Fatal(err)
	}
	if got := content(t, out.replaced()); got != b {
		t.Errorf("%q was moved, want the second result", got)
	}
	if got := content(t, out.name); got != a+c {
		t.Errorf("%q is left, want the first and the third result", got)
	}
}

func TestResultsThatCannotBeKeptAreNotReplaced(t *testing.T) {
	a, b := resultLine("a", 10), resultLine("b", 10)
	out := openResultsOf(t, a+b)
	if err := os.Mkdir(out.replaced(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := out.replace([]int{1}, nil); err == nil {
		t.Error("it says that it did")
	}
	if got := content(t, out.name); got != a+b {
		t.Errorf("%q is left", got)
	}
	if rest, err := filepath.Glob(filepath.Join(filepath.Dir(out.name), ".callq-*")); err != nil || len(rest) > 0 {
		t.Errorf("%v is left, %v", rest, err)
	}
}
