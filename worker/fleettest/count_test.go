package fleettest

import (
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// under returns the calls whose path begins with a prefix.
func under(prefix string, calls []simapi.Call) []simapi.Call {
	var list []simapi.Call
	for _, c := range calls {
		if strings.HasPrefix(c.Path, prefix) {
			list = append(list, c)
		}
	}
	return list
}

// windows returns the fewest and the most calls of any window of that length,
// wherever it begins. The fewest are those of a window that lies between the first
// and the last call.
func windows(calls []simapi.Call, length time.Duration) (fewest, most int) {
	fewest = len(calls)
	end := 0
	for begin, c := range calls {
		for end < len(calls) && calls[end].At.Before(c.At.Add(length)) {
			end++
		}
		most = max(most, end-begin)
		if end < len(calls) {
			fewest = min(fewest, end-begin)
		}
	}
	return fewest, most
}

// rate returns how many calls a second arrived, from the first to the last.
func rate(calls []simapi.Call) float64 {
	if len(calls) < 2 {
		return 0
	}
	return float64(len(calls)-1) / calls[len(calls)-1].At.Sub(calls[0].At).Seconds()
}

// pile makes an operator hold an upstream, so that calls accumulate, until release.
func (f *fleet) pile(upstream string) {
	f.t.Helper()
	if err := f.circuits.Open(f.t.Context(), circuit.Name{Upstream: upstream}, time.Hour, "calls must accumulate", "test"); err != nil {
		f.t.Fatal(err)
	}
}

// release closes the circuit as an operator.
func (f *fleet) release(upstream string) {
	f.t.Helper()
	if err := f.circuits.Close(f.t.Context(), circuit.Name{Upstream: upstream}, "go", "test"); err != nil {
		f.t.Fatal(err)
	}
}

// awaitLimited waits until a limit or a budget holds the account and no call is in flight.
// It returns the circuit at that time.
func (f *fleet) awaitLimited() circuit.Record {
	f.t.Helper()
	var r circuit.Record
	f.await("a limit or budget to hold the account", func() bool {
		r = f.circuit()
		return r.Limited.After(time.Now())
	})
	f.awaitAPI("the calls in progress to end", func(s simapi.Stats) bool { return s.InFlight == 0 })
	return r
}

// ran returns how often Redis has run each command since resetCommands, those in
// scripts included.
func (f *fleet) ran() map[string]int {
	f.t.Helper()
	n := map[string]int{}
	for name, value := range f.info("commandstats") {
		count, _, _ := strings.Cut(strings.TrimPrefix(value, "calls="), ",")
		n[strings.TrimPrefix(name, "cmdstat_")], _ = strconv.Atoi(count)
	}
	return n
}

func (f *fleet) resetCommands() {
	f.t.Helper()
	if err := f.client.ConfigResetStat(f.t.Context()).Err(); err != nil {
		f.t.Fatal(err)
	}
}

// redisCPU returns how much processor time Redis has used since it was started.
func (f *fleet) redisCPU() time.Duration {
	f.t.Helper()
	return redistest.CPU(f.t, f.client)
}

func (f *fleet) info(section string) map[string]string {
	f.t.Helper()
	return redistest.Info(f.t, f.client, section)
}
