package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// TestRunScripts runs callq run on the Redis inside the process and on the
// embedded one. Beside the program there are these commands:
//
//	sim FILE             start a simulated API that answers as FILE says; callq.yaml
//	                     finds it
//	script FILE          change what it answers
//	arrived N            N calls have arrived at it
//	status N COMMAND…    run a command that ends with status N
//	count N FILE         FILE has N lines
//	cut N FILE           take the last N bytes off FILE
//	pack FILE PACKED     compress FILE with gzip or zstd, as the name says
func TestRunScripts(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]func(testing.TB) string{
		"miniredis": func(testing.TB) string { return program(t) },
		"embedded":  redistest.Binary,
	} {
		if name == "miniredis" && redistest.OnlyRedis() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Dir(path(t))
			testscript.Run(t, testscript.Params{
				Dir: "testdata/run",
				Setup: func(env *testscript.Env) error {
					for key, value := range map[string]string{
						"HOME": env.WorkDir, "TZ": "UTC", "GORACE": "atexit_sleep_ms=0",
						"PATH":  filepath.Dir(program(t)) + string(os.PathListSeparator) + dir,
						"REDIS": name,
					} {
						env.Setenv(key, value)
					}
					return os.WriteFile(filepath.Join(env.WorkDir, "quick.yaml"), []byte(quick), 0o600)
				},
				Condition: func(cond string) (bool, error) { return cond == name, nil },
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"status": status, "count": countLines, "sim": startSimulated, "script": scriptSimulated, "arrived": arrived, "cut": cutFile,
					"pack": packFile,
				},
			})
		})
	}
}

// running are the simulated APIs of the scripts, by their folders.
var running sync.Map // string -> *simapi.Server

func startSimulated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sim FILE")
	}
	script, err := simapi.ParseScript(ts.ReadFile(args[0]))
	ts.Check(err)
	sim := simapi.New(simapi.Config{Script: script})
	server := httptest.NewServer(sim)
	ts.Defer(func() {
		_ = sim.Close()
		server.Close()
	})
	ts.Check(os.WriteFile(ts.MkAbs("callq.yaml"), fmt.Appendf(nil, `upstreams:
  sim: {base_url: %q, policy: ./quick.yaml, timeout: 10s, cost: {per_call: 0.01}}
`, server.URL), 0o600))
	running.Store(ts.Getenv("WORK"), sim)
}

func simulatedOf(ts *testscript.TestScript) *simapi.Server {
	s, ok := running.Load(ts.Getenv("WORK"))
	if !ok {
		ts.Fatalf("start it first: sim FILE")
	}
	return s.(*simapi.Server)
}

func scriptSimulated(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: script FILE")
	}
	ts.Check(simulatedOf(ts).Script(ts.ReadFile(args[0])))
}

func arrived(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: arrived N")
	}
	if got := fmt.Sprint(simulatedOf(ts).Stats().Arrivals); got != args[0] {
		ts.Fatalf("%s calls have arrived, want %s", got, args[0])
	}
}

func packFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: pack FILE PACKED")
	}
	var out bytes.Buffer
	var w io.WriteCloser = gzip.NewWriter(&out)
	if filepath.Ext(args[1]) == ".zst" {
		var err error
		w, err = zstd.NewWriter(&out)
		ts.Check(err)
	}
	_, err := io.WriteString(w, ts.ReadFile(args[0]))
	ts.Check(err)
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), out.Bytes(), 0o600))
}

func cutFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cut N FILE")
	}
	text := ts.ReadFile(args[1])
	n := 0
	_, err := fmt.Sscan(args[0], &n)
	ts.Check(err)
	text = text[:len(text)-n]
	if !strings.HasSuffix(args[1], ".gz") && !strings.HasSuffix(args[1], ".zst") {
		text = strings.TrimSpace(text)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(text), 0o600))
}
