package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestCallsWaitAtTheMemoryLimitUntilResultsAreExported(t *testing.T) {
	t.Parallel()
	const calls = 12
	server := redistest.Redis(t)
	h := newHome(t, "")
	h.write("callq.yaml", fmt.Sprintf(`redis: %q
admin: {listen: "127.0.0.1:0"}
ledger: {max_memory: 1MiB}
upstreams: {api: {base_url: %q, policy: patsnap, concurrency: 1}}
`, server.URL, largeAnswers(t, 400<<10)))
	var lines strings.Builder
	for i := range calls {
		fmt.Fprintf(&lines, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
	}
	h.write("calls.jsonl", lines.String())
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	log, signal, end := h.start("work")
	const waits = "calls wait: the results in Redis take 1.2 MiB, and ledger.max_memory is 1 MiB, since "
	h.says(log, waits)
	if out, _ := h.callq(exitOK, "batch", "status", "b"); !strings.Contains(out, "9 "+waits) {
		t.Errorf("batch status says:\n%s", out)
	}
	results := 0
	for n := 1; results < calls; n++ {
		name := fmt.Sprintf("out%d", n)
		await(t, "results to export", func() bool {
			kept := server.Client.Get(t.Context(), "callq:{api}:bodies").Val()
			open := server.Client.HGet(t.Context(), "callq:{api}:b:b", "open").Val()
			return len(kept) > 6 || open == "0"
		})
		h.callq(exitOK, "batch", "export", "b", "-o", name)
		// What was freed by an earlier export is in its file.
		for line := range strings.Lines(h.read(name)) {
			if !strings.Contains(line, `"body":null`) {
				results++
			}
		}
	}
	if results != calls {
		t.Errorf("%d results were exported with their bodies, of %d calls", results, calls)
	}
	h.callq(exitOK, "batch", "wait", "b")
	signal(os.Interrupt)
	if got := end(); got != exitOK {
		t.Errorf("work: exit status %d\n%s", got, log)
	}
	h.callq(exitOK, "audit")
}
