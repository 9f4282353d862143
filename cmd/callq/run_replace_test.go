package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/worker/simapi"
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
	out, err := (&app{}).openResults(name)
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

func TestAKillWhileResultsAreReplacedLosesNone(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	_, url := simulate(t, simapi.Config{Script: simapi.MustParseScript("* * -> hang=60s forever")})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	var calls, results strings.Builder
	const n = 3000
	for i := range n {
		fmt.Fprintf(&calls, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
		results.WriteString(resultLine(fmt.Sprintf("k%d", i), 10_000))
	}
	h.write("calls.jsonl", calls.String())
	h.write("out", results.String())
	// Every line was changed, so that each result is replaced.
	for _, moment := range []string{".callq-*", "out.old.jsonl", "out.old.jsonl"} {
		_, signal, end := h.start("run", "calls.jsonl", "-o", "out")
		await(t, "the replacement", func() bool {
			files, err := filepath.Glob(filepath.Join(h.dir, moment))
			return err == nil && len(files) > 0
		})
		signal(syscall.SIGKILL)
		end()
		for name := range kept(t, h, n) {
			t.Fatalf("%s is in neither file", name)
		}
	}
}

// kept returns the keys of those results that are neither in out nor among the
// replaced ones.
func kept(t *testing.T, h *home, n int) map[string]bool {
	t.Helper()
	missing := map[string]bool{}
	for i := range n {
		missing[fmt.Sprintf("k%d", i)] = true
	}
	for _, name := range []string{"out", "out.old.jsonl"} {
		for line := range strings.Lines(content(t, h.file(name))) {
			if !strings.HasSuffix(line, "\"}\n") {
				continue // half-written
			}
			key, _, _ := strings.Cut(strings.TrimPrefix(line, `{"key":"`), `"`)
			delete(missing, key)
		}
	}
	return missing
}
