package worker

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

func TestAWorkerIsDeclaredDeadWhenItsBeatIsUnchangedInConsecutiveReads(t *testing.T) {
	start := time.Now()
	for name, c := range map[string]struct {
		// looks are the seconds at which this process reads the heartbeats, numbers what it reads.
		looks   []float64
		numbers []string
		dead    []bool
	}{
		"it is paused":                               {[]float64{0, 1, 2, 3, 4, 5, 5.9, 6}, []string{"7", "7", "7", "7", "7", "7", "7", "7"}, []bool{7: true}},
		"it counts on":                               {[]float64{0, 2, 4, 6, 8}, []string{"7", "8", "9", "10", "11"}, make([]bool, 5)},
		"it counts on in the end":                    {[]float64{0, 2, 4, 5.9, 6, 8, 10, 11.9}, []string{"7", "7", "7", "7", "8", "8", "8", "8"}, make([]bool, 8)},
		"it is missing meanwhile":                    {[]float64{0, 2, 4, 5, 6, 8, 10}, []string{"7", "7", "7", "", "7", "7", "7"}, make([]bool, 7)},
		"this process was paused":                    {[]float64{0, 2, 4, 60, 61, 63, 65, 66}, []string{"7", "7", "7", "7", "7", "7", "7", "7"}, []bool{7: true}},
		"it reads seldom":                            {[]float64{0, 3, 6, 9, 12}, []string{"7", "7", "7", "7", "7"}, make([]bool, 5)},
		"it counts backwards, as Redis was restored": {[]float64{0, 2, 4, 6}, []string{"7", "7", "3", "3"}, make([]bool, 4)},
	} {
		t.Run(name, func(t *testing.T) {
			var o peerWatch
			for i, at := range c.looks {
				workers := ledger.Beats{}
				if c.numbers[i] != "" {
					workers["other"] = c.numbers[i]
				}
				dead := o.dead(start.Add(time.Duration(at*float64(time.Second))), map[string]ledger.Beats{"q": workers})
				if want := i < len(c.dead) && c.dead[i]; (len(dead) > 0) != want {
					t.Errorf("after %vs: got dead workers %v, want one: %t", at, dead, want)
				}
			}
		})
	}
}

// Two machines' clocks decide about a lease, so a wrong clock must not. After a pause of
// this process, or of Redis, it is not certain that a lease has ended.
func TestNoLeaseIsReclaimedWithAWrongClockOrAfterAPause(t *testing.T) {
	preset, err := policy.Preset("patsnap")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	for name, c := range map[string]struct {
		looks []int // in multiples of the time between two reads; a lease has ended for certain after two of them
		wrong int   // up to which read the clock is wrong
		back  int   // at which read the call is taken back, from 1; 0: never
	}{
		"the lease is unchanged":         {looks: []int{0, 1, 2}, back: 3},
		"the clock is wrong":             {looks: []int{0, 1, 2, 4, 12}, wrong: 5},
		"the clock was wrong until now":  {looks: []int{0, 1, 2, 3}, wrong: 2},
		"this process was paused before": {looks: []int{0, 1, 12, 13}},
		"it was paused and reads on":     {looks: []int{0, 1, 12, 13, 14}, back: 5},
	} {
		t.Run(name, func(t *testing.T) {
			redistest.Each(t, func(t *testing.T, rdb *redis.Client) {
				long := float64(time.Now().Add(-time.Hour).Unix())
				rdb.HSet(t.Context(), "asynq:{q}:t:held", "msg", "a message", "state", "active")
				rdb.LPush(t.Context(), "asynq:{q}:active", "held")
				rdb.ZAdd(t.Context(), "asynq:{q}:lease", redis.Z{Score: long, Member: "held"})
				w, err := New(Config{Redis: rdb, Upstreams: []Upstream{{Name: "q", BaseURL: "http://127.0.0.1:1", Policy: preset}}})
				if err != nil {
					t.Fatal(err)
				}
				var o overdue
				for i, at := range c.looks {
					w.clock.wrong.Store(i < c.wrong)
					if err := w.reclaimOnce(t.Context(), &o, start.Add(time.Duration(at)*reclaimEvery), []string{"q"}); err != nil {
						t.Fatal(err)
					}
					back := rdb.LLen(t.Context(), "asynq:{q}:pending").Val() == 1
					if want := c.back > 0 && i+1 >= c.back; back != want {
						t.Fatalf("after read %d: taken back %t, want %t", i+1, back, want)
					}
				}
			})
		})
	}
}
