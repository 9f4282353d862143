package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestDoctorReportsTheMemoryOfEachBatch(t *testing.T) {
	t.Parallel()
	const size = 100 << 10
	server := redistest.Redis(t)
	h := newHome(t, "")
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nledger: {max_memory: 1MiB}\nupstreams: {api: {base_url: %q, policy: patsnap}}\n", server.URL, largeAnswers(t, size)))
	var lines strings.Builder
	for i := range 9 {
		fmt.Fprintf(&lines, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
	}
	h.write("calls.jsonl", lines.String())
	h.write("one.jsonl", `{"path":"/a"}`)
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	h.callq(exitOK, "send", "one.jsonl", "--batch", "waiting")
	out, _ := h.callq(exitOK, "doctor")
	for _, want := range []string{
		"note     memory       the results of 2 batches use 900.4 KiB of the 1 MiB that ledger.max_memory allows\n",
		"Next: export batches with callq batch export NAME -o FILE",
		": 9 calls, about ", "batch waiting: 1 call, about ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	out, _ = h.callq(exitOK, "doctor", "--json")
	var report struct{ Batches []batchUsage }
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Batches) != 2 {
		t.Fatalf("got %d batches, want 2: %s", len(report.Batches), out)
	}
	big, small := report.Batches[0], report.Batches[1]
	if bodies := server.Client.Get(t.Context(), "callq:{api}:bodies").Val(); fmt.Sprint(big.Bodies) != bodies || big.Bodies < 9*(size-2<<10) {
		t.Errorf("bodies take %d bytes, by Redis's count %s", big.Bodies, bodies)
	}
	if big.Records > 9*4000 || big.Claims == 0 || big.Lists == 0 {
		t.Errorf("9 records take %+v", big)
	}
	if small.Batch != "waiting" || small.Calls != 1 || small.Bodies != 0 || small.Records == 0 {
		t.Errorf("a batch of one call that waits takes %+v", small)
	}
}
