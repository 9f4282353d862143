package wiretest

import "testing"

// kinds are the scripts through which a call goes, each with the words by which it
// is known on the wire.
var kinds = map[string]func([]string) bool{
	"claim":   script("", ":claims"),
	"accept":  but(script("", ":pending", ":scheduled"), ":paused", ":lease"),
	"dequeue": script("", ":paused", ":pending"),
	"mark":    script("", ":circuit", ":fence"),
	"attempt": but(script("attempts", ":circuit"), ":pending"),
	"park":    script("attempts", ":pending", ":lease"),
	"end":     script("", ":archived", ":groups"),
	"circuit": script("", ":circuits"), // admit and report
	"asynq's retry": func(a []string) bool {
		return script("", ":retry", ":active", ":lease")(a) && !script("", ":circuit")(a)
	},
}

func TestNoCallIsLostOrMadeTwiceWhicheverScriptTheWireLoses(t *testing.T) {
	t.Parallel()
	for kind, picks := range kinds {
		for _, loss := range []loss{replyLost, replyCut, requestLost} {
			t.Run(kind+": "+string(loss), func(t *testing.T) {
				t.Parallel()
				const batch, calls = "b", 90
				// One in ten is tried again; some are put back when the quota is used up.
				r := newRig(t, `* /b/*7 -> 68300008; ok latency=5ms forever
shared * * -> ok x20 latency=5ms; 67200001 retry-after=1 latency=5ms; ok x20 latency=5ms; 67200001 retry-after=1 latency=5ms; ok latency=5ms forever`)
				w := &wire{addr: r.redis.Addr, loss: loss, picks: picks, every: 2, most: 12}
				client := r.through(w.dial)
				r.send(client, batch, calls)
				r.work(client, 8)
				orphans := r.finish(batch, kind == "dequeue")
				r.wantAllDoneOnce(batch, calls)
				t.Logf("%d times; %d calls waited for the end of their lease", w.done(), orphans)
				if w.done() == 0 {
					t.Errorf("the wire lost nothing: this shows nothing; it saw %d such scripts", w.picked)
				}
			})
		}
	}
}
