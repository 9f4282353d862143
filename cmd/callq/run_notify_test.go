package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
)

func TestARunEndsWhenTheEndOfItsBatchWasTold(t *testing.T) {
	eachRedis(t, func(t *testing.T, h *home) {
		v, r := newVault(t, ""), notifytest.New(t, "")
		h.write("calls.jsonl", "{\"path\":\"/a\"}\n{\"path\":\"/b\"}\n")
		h.write("callq.yaml", fmt.Sprintf("upstreams:\n  api: {base_url: %q, policy: http}\nnotify:\n  - {url: %q, format: slack}\n", v.url, r.URL))
		h.callq(exitOK, "run", "calls.jsonl")
		got := r.Got()
		if len(got) != 1 || !strings.Contains(string(got[0].Body), "has ended: 2 calls, 2 done") {
			t.Errorf("got %s", got)
		}
	})
}
