package wiretest

import "testing"

// scripts are the scripts that a call runs through. Each function recognizes one of them
// in a request to Redis.
var scripts = map[string]func([]string) bool{
	"claim":   script("", ":claims"),
	"accept":  without(script("", ":pending", ":scheduled"), ":paused", ":lease"),
	"dequeue": script("", ":paused", ":pending"),
	"mark":    script("", ":circuit", ":fence"),
	"attempt": without(script("attempts", ":circuit"), ":pending"),
	"park":    script("attempts", ":pending", ":lease"),
	"end":     script("", ":archived", ":groups"),
	"circuit": script("", ":circuits"), // admit and report
	"asynq's retry": func(a []string) bool {
		return script("", ":retry", ":active", ":lease")(a) && !script("", ":circuit")(a)
	},
}

func TestNoCallIsLostOrMadeTwiceWhicheverScriptFails(t *testing.T) {
	t.Parallel()
	for name, matches := range scripts {
		for _, f := range []fault{replyLost, replyCut, requestLost} {
			t.Run(name+": "+string(f), func(t *testing.T) {
				t.Parallel()
				const batch, calls = "b", 90
				// One call in ten is retried; some are parked when the quota is used up.
				r := newRig(t, `* /b/*7 -> 68300008; ok latency=5ms forever
shared * * -> ok x20 latency=5ms; 67200001 retry-after=1 latency=5ms; ok x20 latency=5ms; 67200001 retry-after=1 latency=5ms; ok latency=5ms forever`)
				dialer := &faultyDialer{addr: r.redis.Addr, fault: f, matches: matches, every: 2, limit: 12}
				client := r.client(dialer.dial)
				r.send(client, batch, calls)
				r.work(client, 8)
				orphans := r.finish(batch, name == "dequeue")
				r.wantAllDoneOnce(batch, calls)
				matched, failed := dialer.counts()
				t.Logf("%d of %d requests failed; %d calls were orphaned", failed, matched, orphans)
				if failed == 0 {
					t.Errorf("no request failed, so this test proved nothing; %d requests ran the script", matched)
				}
			})
		}
	}
}
