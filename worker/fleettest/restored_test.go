package fleettest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// moment is when a copy of Redis's file is made or restored: after that many arrivals.
type moment struct {
	after, copied int
	restore       bool
}

// moments draws moments from a seed. The copies that are restored have all ages, from a
// moment to more than half of the time that has passed.
func moments(seed uint64, ages, calls int) []moment {
	random := rand.New(rand.NewPCG(seed, 1))
	var list []moment
	for i := range ages {
		at := (i + 1) * calls / (ages + 1)
		list = append(list, moment{at - 1 - random.IntN(at*(i+1)/ages), i, false}, moment{at, i, true})
	}
	slices.SortStableFunc(list, func(a, b moment) int { return cmp.Compare(a.after, b.after) })
	return list
}

// The workers keep running, so that one of them remembers each call that was sent.
func TestNoCallIsSentTwiceByARedisThatWasRestoredUnderItsWorkers(t *testing.T) {
	t.Parallel()
	s := faults(t)
	ages := 3
	s.calls = 900
	if s.full {
		ages, s.calls = 10, 5000
	}
	server := redistest.Redis(t)
	// A copy made while Redis rewrites its file is not usable.
	if err := server.Client.ConfigSet(t.Context(), "auto-aof-rewrite-percentage", "0").Err(); err != nil {
		t.Fatal(err)
	}
	f := start(t, setup{size: s, client: server.Client, url: server.URL})
	f.script("* * -> ok latency=50ms forever")
	const batch = "b"
	f.sendMixed(batch, s.calls)
	copies := make([]string, ages)
	for _, m := range moments(seed(t), ages, s.calls) {
		f.awaitAPI("more calls", func(now simapi.Stats) bool { return now.Arrivals >= int64(m.after) })
		if m.restore {
			server.Restore(copies[m.copied])
		} else {
			copies[m.copied] = server.Copy()
		}
	}
	f.awaitEnded(batch, 0)
	t.Logf("%d copies were restored", ages)
	f.wantNothingLostOrTwice(batch, s.calls, s.calls)
	if status, output := f.callq("audit"); status != 0 {
		t.Errorf("audit ended with status %d, want 0:\n%s", status, output)
	}
}
