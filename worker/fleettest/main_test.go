// Package fleettest tests real fleets, for what a single process cannot show: several
// processes of "callq work" on one Redis, or on a Cluster, against a simulated API
// that records when each call arrived. It has only tests and their helpers.
//
//	f := start(t, setup{settings: "timeout: 2s"})
//	f.script("shared * * -> ok x100; 67200001 retry-after=3; ok")
//	f.send("b", 1000, tasks.PriorityHigh, tasks.PriorityLow)
//	f.awaitEnded("b", 0)
//	f.wantDone("b", 1000, 1)
//	f.wantBalanced("b")
//
// The fleet is small by default, so that the tests take some minutes on two busy cores.
// Then they check what happens, how often and in which order, and only roughly when. With
// CALLQ_FLEET=full, on a machine that does nothing else, they run at full size and measure
// times. If the tests have the race detector, the processes have it too, and a race that a
// process reports fails the test.
package fleettest

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// built has the path of the program, once a test has built it.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	if os.Getenv("CALLQ_FLEET") == "" {
		redistest.Parallel(2)
	}
	m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// program returns the path of a callq that was built from this source, once for all
// tests.
func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "callq"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "callq")
		var flags []string
		if raceEnabled() {
			flags = append(flags, "-race")
		}
		built.err = programtest.Build(built.path, flags...)
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// raceEnabled reports whether these tests run under the race detector.
func raceEnabled() bool {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return false
	}
	for _, s := range info.Settings {
		if s.Key == "-race" {
			return s.Value == "true"
		}
	}
	return false
}

// size is the size of the fleets of a run.
type size struct {
	// processes is the number of processes; each makes concurrency calls at once.
	processes, concurrency int
	// calls is the size of a batch that keeps the whole fleet busy.
	calls int
	// hold is the API's Retry-After, in whole seconds.
	hold time.Duration
	// full reports that tests may take minutes.
	full bool
}

// unlessMeasured lets a test run in parallel, except at the full size, where
// other tests would disturb the measurement.
func unlessMeasured(t *testing.T) {
	t.Helper()
	if !fleetSize(t).full {
		t.Parallel()
	}
}

// capacity returns how many calls the whole fleet makes at once.
func (s size) capacity() int { return s.processes * s.concurrency }

// promptly returns how late an event may be that must follow within most. The full size
// measures that. A small fleet shares its machine with other tests, and only finds out
// whether the event follows at all.
func (s size) promptly(most time.Duration) time.Duration {
	if s.full {
		return most
	}
	return most + 20*time.Second
}

// slack returns how much later than due, by Redis's time, something may happen, such as the
// arrival of a call after its admission. A busy machine is slower.
func (s size) slack() time.Duration {
	if s.full {
		return time.Second
	}
	return 2500 * time.Millisecond
}

// seconds returns the hold in seconds, for a script and a Retry-After header.
func (s size) seconds() int { return int(s.hold / time.Second) }

// fleetSize returns the size that the environment selects.
func fleetSize(t testing.TB) size {
	t.Helper()
	switch of := os.Getenv("CALLQ_FLEET"); of {
	case "":
		return size{processes: 4, concurrency: 8, calls: 2000, hold: 6 * time.Second}
	case "full":
		return size{processes: 8, concurrency: 32, calls: 20_000, hold: 10 * time.Second, full: true}
	default:
		t.Fatalf("CALLQ_FLEET is %q: set it to full, or unset it for the small size", of)
		return size{}
	}
}
