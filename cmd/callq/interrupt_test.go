package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

func TestAnInterruptedDemonstrationSaysThatItStartsFromTheBeginning(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.env = append(h.env, "TMPDIR="+h.dir)
	errs, signal, end := h.start("dev", "--once", "--addr", "127.0.0.1:0")
	await(t, "the first calls", func() bool { return strings.Contains(errs.String(), "retrying in") })
	signal(syscall.SIGINT)
	if status := end(); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	says(t, errs.String(), "not finished; the same command starts from the beginning\n")
	if strings.Contains(errs.String(), "to go on") {
		t.Errorf("got:\n%s", errs)
	}
}

func TestARunThatIsStoppedAtOnceCountsItsResultsEvenWithoutRedis(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	server := h.onRedis(t)
	sim, url := simulate(t, simapi.Config{Script: simapi.MustParseScript("GET /hangs -> hang=1h")})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, timeout: 1h}}\n", url))
	h.write("calls.jsonl", `{"path":"/a"}`+"\n"+`{"path":"/b"}`+"\n"+`{"path":"/hangs"}`+"\n")
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--first", "1")
	errs, signal, end := h.start("run", "calls.jsonl", "-o", "out")
	await(t, "the call that hangs", func() bool { return sim.Stats().Arrivals == 3 && strings.Count(h.read("out"), "\n") == 2 })
	server.Pause()
	defer server.Resume()
	signal(syscall.SIGINT)
	await(t, "the drain", func() bool { return strings.Contains(errs.String(), "stopping") })
	signal(syscall.SIGINT)
	if status := end(); status != exitFailed {
		t.Errorf("exit status %d", status)
	}
	if want := "\ncallq: stopped at once: 2 of 3 calls have their results; run the same command again to continue\n"; !strings.HasSuffix(errs.String(), want) {
		t.Errorf("it does not end with %q:\n%s", want, errs)
	}
}
