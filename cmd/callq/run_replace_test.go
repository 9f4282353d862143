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

// resultLine returns a line of a results file with a body of n bytes.
func resultLine(key string, n int) string {
	return fmt.Sprintf(`{"key":%q,"state":"done","digest":"00000000000000000000000000000000","body":%q}`, key, strings.Repeat("x", n)) + "\n"
}

func TestAKillWhileResultsAreReplacedLosesNoResult(t *testing.T) {
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
		for name := range lost(t, h, n) {
			t.Fatalf("%s is in neither file", name)
		}
	}
}

// lost returns the keys of the results that are neither in out nor among the replaced ones.
func lost(t *testing.T, h *home, n int) map[string]bool {
	t.Helper()
	missing := map[string]bool{}
	for i := range n {
		missing[fmt.Sprintf("k%d", i)] = true
	}
	for _, name := range []string{"out", "out.old.jsonl"} {
		text, err := os.ReadFile(h.file(name))
		if err != nil && !os.IsNotExist(err) { // a kill may have come before the second file
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasSuffix(line, "\"}\n") {
				continue // half-written
			}
			key, _, _ := strings.Cut(strings.TrimPrefix(line, `{"key":"`), `"`)
			delete(missing, key)
		}
	}
	return missing
}
