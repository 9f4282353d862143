// Package fleettest proves on real fleets what no single process can show: several
// processes of "callq work" on one Redis, or on a Cluster, against a simulated API
// that notes when which call arrived. It has tests alone, and what they stand on.
//
//	f := start(t, setup{settings: "timeout: 2s"})
//	f.script("shared * * -> ok x100; 67200001 retry-after=3; ok")
//	f.send("b", 1000, tasks.PriorityHigh, tasks.PriorityLow)
//	f.awaitEnded("b", 0)
//	f.wantDone("b", 1000, 1)
//	f.wantBooks("b")
//
// The fleet is small by default, so that the tests are done in a minute or two on
// two busy cores. CALLQ_FLEET=full runs them at full size. The processes are built
// with the race detector where the tests are, and a race that they report fails
// the test.
package fleettest

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"testing"
	"time"
)

// built is where the program lies, once a test has asked for it.
var built struct {
	once sync.Once
	dir  string
	path string
	err  error
}

func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv("CALLQ_FLEET") == "" && !given("test.parallel") {
		// Small fleets mostly wait: more of them than there are processors are no
		// burden.
		_ = flag.Set("test.parallel", strconv.Itoa(runtime.GOMAXPROCS(0)+1))
	}
	m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// given tells whether a flag was set.
func given(name string) (ok bool) {
	flag.Visit(func(f *flag.Flag) { ok = ok || f.Name == name })
	return ok
}

// program is the path of a callq that was built from this source, once for all
// tests.
func program(t testing.TB) string {
	t.Helper()
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "callq"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "callq")
		args := []string{"build", "-o", built.path}
		if raceEnabled() {
			args = append(args, "-race")
		}
		out, err := exec.Command("go", append(args, "github.com/seed-2903acc3/callq/cmd/callq")...).CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("build callq: %w\n%s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// raceEnabled tells whether these tests run under the race detector.
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

// size is how large the fleets of a run are.
type size struct {
	// processes there are, each making concurrency calls at once.
	processes, concurrency int
	// calls are in a batch that is to keep the whole fleet busy.
	calls int
	// hold is what the API says in Retry-After; whole seconds.
	hold time.Duration
	// full tells that there is time for what takes minutes.
	full bool
}

// places is how many calls the whole fleet makes at once.
func (s size) places() int { return s.processes * s.concurrency }

// seconds is the hold as a script and a Retry-After header write it.
func (s size) seconds() int { return int(s.hold / time.Second) }

// fleetSize is what the environment asks for.
func fleetSize(t testing.TB) size {
	t.Helper()
	switch of := os.Getenv("CALLQ_FLEET"); of {
	case "":
		return size{processes: 4, concurrency: 8, calls: 2000, hold: 3 * time.Second}
	case "full":
		return size{processes: 8, concurrency: 32, calls: 20_000, hold: 10 * time.Second, full: true}
	default:
		t.Fatalf("CALLQ_FLEET is %q: set it to full, or to nothing for the small size", of)
		return size{}
	}
}
