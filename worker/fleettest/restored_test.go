package fleettest

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// moment is when a copy of Redis's file is taken, or put back, by the number of calls
// that have arrived.
type moment struct {
	after, copied int
	restore       bool
}

// moments are drawn from a seed: copies of all ages are put back, from those of just
// now to those from before the half of what has happened.
func moments(seed uint64, ages, calls int) []moment {
	dice := rand.New(rand.NewPCG(seed, 1))
	var list []moment
	for i := range ages {
		at := (i + 1) * calls / (ages + 1)
		list = append(list, moment{at - 1 - dice.IntN(at*(i+1)/ages), i, false}, moment{at, i, true})
	}
	slices.SortStableFunc(list, func(a, b moment) int { return cmp.Compare(a.after, b.after) })
	return list
}

// The workers run on, so that each call that was sent is recorded somewhere.
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
	t.Logf("%d copies were put back", ages)
	f.wantNothingLostOrTwice(batch, s.calls, s.calls)
	if status, said := f.callq("audit"); status != 0 {
		t.Errorf("the audit ended with status %d:\n%s", status, said)
	}
}
