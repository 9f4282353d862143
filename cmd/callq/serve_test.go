package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// await waits until a condition holds.
func await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !cond() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

// start runs the program until its signal; end waits for it and gives its status. Its log
// is text.
func (h *home) start(args ...string) (errs *programtest.Log, signal func(os.Signal), end func() int) {
	h.t.Helper()
	args = append([]string{args[0], "--log-format=text"}, args[1:]...)
	cmd, _, _ := h.command(args...)
	return h.startCommand(cmd)
}

// startCommand is start for a command.
func (h *home) startCommand(cmd *exec.Cmd) (errs *programtest.Log, signal func(os.Signal), end func() int) {
	h.t.Helper()
	errs = &programtest.Log{}
	cmd.Stdout, cmd.Stderr = errs, errs
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // its status is read below
		close(ended)
	}()
	h.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	signal = func(s os.Signal) { _ = cmd.Process.Signal(s) }
	end = func() int {
		<-ended
		return cmd.ProcessState.ExitCode()
	}
	return errs, signal, end
}

func simulate(t *testing.T, cfg simapi.Config) (*simapi.Server, string) {
	t.Helper()
	sim := simapi.New(cfg)
	server := httptest.NewServer(sim)
	t.Cleanup(func() {
		_ = sim.Close()
		server.Close()
	})
	return sim, server.URL
}

func TestAnInterruptedRunDrainsAndContinuesLater(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, h *home) {
		sim, url := simulate(t, simapi.Config{Latency: simapi.Latency{Min: 100 * time.Millisecond, Max: 200 * time.Millisecond}})
		h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, concurrency: 4}}\n", url))
		var calls strings.Builder
		for i := range 60 {
			fmt.Fprintf(&calls, "{\"path\":\"/%d\"}\n", i)
		}
		h.write("calls.jsonl", calls.String())
		errs, signal, end := h.start("run", "calls.jsonl", "-o", "out")
		await(t, "the first calls", func() bool { return sim.Stats().Arrivals >= 8 })
		signal(syscall.SIGINT)
		if status := end(); status != exitFailed {
			t.Errorf("exit status %d", status)
		}
		for _, want := range []string{"stopping", "run the same command again"} {
			if !strings.Contains(errs.String(), want) {
				t.Errorf("%q is missing:\n%s", want, errs)
			}
		}
		arrived := int(sim.Stats().Arrivals)
		if got := strings.Count(h.read("out"), "\n"); got != arrived || arrived >= 60 {
			t.Errorf("%d results of %d calls that were made", got, arrived)
		}
		h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
		if got := strings.Count(h.read("out"), "\n"); got != 60 || sim.Stats().Arrivals != 60 {
			t.Errorf("%d results of %d calls", got, sim.Stats().Arrivals)
		}
	})
}

func TestAFullDiskLosesNoResult(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	sim, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n")
	_, errs := h.callq(exitFailed, "run", "calls.jsonl", "-o", "/dev/full")
	if !strings.Contains(errs, "cannot write") || !strings.Contains(errs, "no space") {
		t.Errorf("got %s", errs)
	}
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out")
	if got := strings.Count(h.read("out"), "\n"); got != 2 || sim.Stats().Arrivals != 2 {
		t.Errorf("%d results of %d calls", got, sim.Stats().Arrivals)
	}
}

func TestDevRunsTheWholeDemonstration(t *testing.T) {
	t.Parallel()
	eachRedis(t, func(t *testing.T, h *home) {
		h.env = append(h.env, "TMPDIR="+h.dir, "CALLQ_REDIS=redis://nobody.invalid:1", "CALLQ_CONFIG=missing.yaml")
		out, errs := h.callq(exitFailedCalls, "dev", "--once", "--addr", "127.0.0.1:0")
		for _, want := range []string{"500 calls: 447 done, 9 dead, 44 dropped", "bad_parameter 68300004", "Next: ", "Results: "} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is not in the summary:\n%s", want, out)
			}
		}
		for _, want := range []string{"Dashboard: http://127.0.0.1:", "HTTP API: http://127.0.0.1:", "simapi paused", "error 67200004 (quota), waiting; not counted as an attempt", "calls start again"} {
			if !strings.Contains(errs, want) {
				t.Errorf("%q is missing:\n%s", want, errs)
			}
		}
		file := regexp.MustCompile(`Results: (\S+)`).FindStringSubmatch(out)[1]
		data, err := os.ReadFile(file)
		if err != nil || bytes.Count(data, []byte("\n")) != demoSize {
			t.Errorf("%d results: %v", bytes.Count(data, []byte("\n")), err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), "redis", "*")); len(left) > 0 {
			t.Errorf("the queue was left behind: %v", left)
		}
	})
}

func TestDevStaysUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.env = append(h.env, "TMPDIR="+h.dir)
	errs, signal, end := h.start("dev", "--addr", "127.0.0.1:0")
	await(t, "the end of the calls", func() bool { return strings.Contains(errs.String(), "The dashboard stays on ") })
	url := regexp.MustCompile(`stays on (\S+)`).FindStringSubmatch(errs.String())[1]
	if status, body := get(t, url); status != http.StatusOK || !strings.Contains(body, "run-calls-") {
		t.Errorf("the dashboard: %d %.300s", status, body)
	}
	if status, _ := get(t, url+"asynqmon/api/queues"); status != http.StatusOK {
		t.Errorf("asynqmon: %d", status)
	}
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("exit status %d: %s", status, errs)
	}
}

func TestAWorkerMakesSentCallsAndDrains(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(redistest.Binary(t)))
	sim, url := simulate(t, simapi.Config{})
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\n", url))
	h.write("calls.jsonl", "{\"path\":\"/1\"}\n{\"path\":\"/2\"}\n")
	errs, signal, end := h.start("work", "--listen", "127.0.0.1:0", "--concurrency", "8")
	await(t, "the worker", func() bool { return strings.Contains(errs.String(), "admin=http://") })
	if !strings.Contains(errs.String(), `access="every user of this machine, because admin.tokens is empty"`) {
		t.Errorf("the log does not say who may use the admin address:\n%s", errs)
	}
	admin := regexp.MustCompile(`admin=(\S+)`).FindStringSubmatch(errs.String())[1]
	for path, want := range map[string]string{"healthz": "ok", "readyz": "ready", "": "asynqmon", "asynqmon/": "Asynq"} {
		if status, body := get(t, admin+path); status != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d %.200s", path, status, body)
		}
	}
	h.callq(exitOK, "send", "calls.jsonl", "--wait")
	if got := sim.Stats().Arrivals; got != 2 {
		t.Errorf("%d calls arrived", got)
	}
	second, stop, ended := h.start("admin", "--listen", "127.0.0.1:0")
	await(t, "the admin server", func() bool { return strings.Contains(second.String(), "admin=http://") })
	stop(syscall.SIGTERM)
	if status := ended(); status != exitOK {
		t.Errorf("admin: exit status %d: %s", status, second)
	}
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK || strings.Count(errs.String(), "draining") != 1 {
		t.Errorf("exit status %d: %s", status, errs)
	}
}

func TestAnAddressThatOtherMachinesCanReachNeedsAToken(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\nadmin:\n  listen: 0.0.0.0:0\n")
	_, errs := h.callq(exitUsage, "work")
	if !strings.HasPrefix(errs, "callq.yaml:3:") || !strings.Contains(errs, "admin.tokens") {
		t.Errorf("got %s", errs)
	}
	_, errs = h.callq(exitUsage, "admin", "--listen", "0.0.0.0:0")
	if !strings.HasPrefix(errs, "--listen:") {
		t.Errorf("got %s", errs)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, errs = h.callq(exitUsage, "work", "--listen", taken.Addr().String())
	if !strings.Contains(errs, "in use") {
		t.Errorf("got %s", errs)
	}
}

func TestNoSecretIsLeftAnywhere(t *testing.T) {
	t.Parallel()
	const secret = "s3cr3t-t0ken-that-must-not-leak"
	redis := redistest.Redis(t)
	h := newHome(t, filepath.Dir(program(t)))
	// An API that sends back what it receives wherever it can.
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given := r.Header.Get("Authorization")
		w.Header().Set("X-Correlation-Id", given)
		w.Header().Set("X-Openapi-Amount", given)
		code := 0
		if r.URL.Path != "/ok" {
			code = 68300004
		}
		if r.URL.Path == "/auth" {
			code = 67200003
		}
		fmt.Fprintf(w, `{"status":%v,"error_code":%d,"error_msg":%q,"data":%q}`, code == 0, code, "refused: "+given, given)
	}))
	t.Cleanup(echo.Close)
	h.env = append(h.env, "CALLQ_REDIS="+redis.URL, "API_TOKEN="+secret)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, auth: {type: bearer, token: \"${env:API_TOKEN}\"}}}\n", echo.URL))
	h.write("calls.jsonl", "{\"path\":\"/ok\"}\n{\"path\":\"/bad\"}\n{\"path\":\"/auth\"}\n")
	out, errs := h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	shown, _ := h.callq(exitOK, "dead", "list", "--json")
	dir, err := redis.Client.ConfigGet(t.Context(), "dir").Result()
	if err != nil {
		t.Fatal(err)
	}
	written := ""
	err = filepath.WalkDir(dir["dir"], func(path string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		written += string(data)
		return err
	})
	if err != nil || !strings.Contains(written, "callq:") {
		t.Fatalf("%d bytes of Redis's file: %v", len(written), err)
	}
	results := 0
	for r, err := range tasks.ReadResults(strings.NewReader(h.read("out"))) {
		if err != nil || r.CorrelationID == "" {
			t.Errorf("%+v %v", r, err)
		}
		results++
	}
	if results != 3 {
		t.Errorf("%d results", results)
	}
	for where, text := range map[string]string{"stdout": out, "stderr": errs, "results": h.read("out"), "dead letters": shown, "Redis": written} {
		if strings.Contains(text, secret) {
			t.Errorf("the token is in %s", where)
		}
	}
}
