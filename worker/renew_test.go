package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

func TestAProbesLeaseIsRenewedWhileItIsMadeUpToALimit(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	account := circuit.Name{Upstream: "q"}
	redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
		for name, c := range map[string]struct {
			end   time.Duration
			done  bool
			taken bool
			want  bool
		}{
			"it is worked on":                  {end: time.Hour, want: true},
			"its handler has ended":            {end: time.Hour, done: true},
			"it takes longer than any may":     {end: -time.Second},
			"another worker has it by now":     {end: time.Hour, taken: true},
			"another has it, and it was ended": {end: time.Hour, taken: true, done: true},
		} {
			rdb.Del(t.Context(), "callq:{q}:circuit")
			w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
			if err != nil {
				t.Fatal(err)
			}
			token, short := "mine", time.Now().Add(time.Second).UnixMilli()
			if c.taken {
				token = "another's"
			}
			rdb.HSet(t.Context(), "callq:{q}:circuit", "state", "open", "epoch", 3, "until", 1, "token", token, "lease", short)
			w.probes.add("mine", heldProbe{name: account, epoch: 3, renewed: time.Now(), renewUntil: time.Now().Add(c.end)})
			if c.done {
				w.stopRenewing(&inflightCall{probeTokens: []string{"mine"}})
			}
			if err := w.renewOnce(t.Context()); err != nil {
				t.Fatal(err)
			}
			lease, err := rdb.HGet(t.Context(), "callq:{q}:circuit", "lease").Int64()
			if err != nil || (lease > short) != c.want {
				t.Errorf("%s: its lease was lengthened: %t, %v; want %t", name, lease > short, err, c.want)
			}
			if _, kept := w.probes.due(time.Now())["mine"]; kept != c.want {
				t.Errorf("%s: it is renewed again: %t, want %t", name, kept, c.want)
			}
		}
	})
}
