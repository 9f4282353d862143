package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// api answers every call with the code 999, which only a policy of the user's own
// contains. It answers calls under /slow only after release.
type api struct {
	url string

	mu       sync.Mutex
	arrivals map[string]int
	gates    map[string]chan struct{}
}

func newAPI(t *testing.T) *api {
	t.Helper()
	a := &api{arrivals: map[string]int{}, gates: map[string]chan struct{}{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		gate := a.arrive(r.URL.Path)
		if strings.HasPrefix(r.URL.Path, "/slow") {
			<-gate
		}
		fmt.Fprint(w, `{"status":false,"error_code":999,"error_msg":"verdict"}`)
	}))
	a.url = server.URL
	t.Cleanup(func() {
		a.mu.Lock()
		for path := range a.gates {
			a.open(path)
		}
		a.mu.Unlock()
		server.Close()
	})
	return a
}

func (a *api) arrive(path string) <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arrivals[path]++
	if a.gates[path] == nil {
		a.gates[path] = make(chan struct{})
	}
	return a.gates[path]
}

func (a *api) arrived(path string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.arrivals[path]
}

// letGo answers the call of a slow path that waits, and all later ones.
func (a *api) letGo(path string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.open(path)
}

func (a *api) open(path string) {
	select {
	case <-a.gates[path]:
	default:
		close(a.gates[path])
	}
}

// workerProcess is a worker process and the home that it lives in.
type workerProcess struct {
	*home
	said   *programtest.Log
	signal func(os.Signal)
	end    func() int
}

// startWorker starts a worker with its own Redis.
func startWorker(t *testing.T, h *home) *workerProcess {
	t.Helper()
	s := &workerProcess{home: h}
	s.said, s.signal, s.end = h.start("work", "--listen", "127.0.0.1:0")
	s.awaitLog("msg=working")
	return s
}

func (s *workerProcess) awaitLog(what string) {
	s.t.Helper()
	defer func() {
		if s.t.Failed() {
			s.t.Logf("the worker said:\n%s", s.said)
		}
	}()
	await(s.t, what, func() bool { return strings.Contains(s.said.String(), what) })
}

// reloads sends SIGHUP and waits until the new configuration is in force.
func (s *workerProcess) reloads() {
	s.t.Helper()
	const word = "msg=\"reloaded: "
	before := strings.Count(s.said.String(), word)
	s.signal(syscall.SIGHUP)
	await(s.t, "the reload", func() bool { return strings.Count(s.said.String(), word) > before })
}

// refuses sends SIGHUP and waits until it was refused with these words.
func (s *workerProcess) refuses(words ...string) {
	s.t.Helper()
	const word = "nothing was changed"
	before := s.said.String()
	s.signal(syscall.SIGHUP)
	await(s.t, "the refusal", func() bool { return strings.Count(s.said.String(), word) > strings.Count(before, word) })
	since := strings.TrimPrefix(s.said.String(), before)
	for _, w := range words {
		if !strings.Contains(since, w) {
			s.t.Errorf("%q is missing:\n%s", w, since)
		}
	}
	if strings.Contains(since, "msg=\"reloaded: ") {
		s.t.Errorf("it was reloaded:\n%s", since)
	}
}

// drains ends the worker, which must end well.
func (s *workerProcess) drains() {
	s.t.Helper()
	s.signal(syscall.SIGTERM)
	if status := s.end(); status != exitOK || !strings.Contains(s.said.String(), "msg=drained") {
		s.t.Errorf("exit status %d:\n%s", status, s.said)
	}
}

// state is how the call of a batch and key has ended, once it has.
func (h *home) state(batch string) tasks.State {
	h.t.Helper()
	cmd, _, _ := h.command("batch", "wait", batch)
	_ = cmd.Run() // 3 where it is dead
	out, _ := h.callq(exitOK, "batch", "export", batch)
	for r, err := range tasks.ReadResults(strings.NewReader(out)) {
		if err != nil {
			h.t.Fatal(err)
		}
		return r.State
	}
	return ""
}

// sends sends one call as a batch of its own.
func (h *home) sends(batch, path string, more ...string) {
	h.t.Helper()
	h.callq(exitOK, append([]string{"send", "GET", path, "--batch", batch, "--key", "k"}, more...)...)
}

// judges writes a policy that answers the API's code in this way.
func (h *home) judges(job tasks.State) {
	h.t.Helper()
	h.write("policy.yaml", fmt.Sprintf(`version: 1
name: mine
extends: patsnap
rules:
  - id: verdict
    match: {code: [999]}
    class: bad_parameter
    job: %s
`, map[tasks.State]string{tasks.StateDropped: "drop", tasks.StateDead: "dead_letter", tasks.StateDone: "succeed"}[job]))
}

func (h *home) onRedis(t *testing.T) *redistest.Server {
	t.Helper()
	server := redistest.Redis(t)
	h.env = append(h.env, "CALLQ_REDIS="+server.URL)
	return server
}

func TestAReloadChangesThePolicyAndLosesNoCall(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	api := newAPI(t)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./policy.yaml}}\n", api.url))
	h.judges(tasks.StateDropped)
	w := startWorker(t, h)
	expect := func(batch string, want tasks.State) {
		t.Helper()
		if got := h.state(batch); got != want {
			t.Errorf("%s is %q, want %q", batch, got, want)
		}
	}
	h.sends("before", "/before")
	expect("before", tasks.StateDropped)

	h.sends("slow-1", "/slow/1")
	await(t, "the first slow call", func() bool { return api.arrived("/slow/1") == 1 })
	h.judges(tasks.StateDead)
	w.reloads()
	h.sends("between", "/between")
	expect("between", tasks.StateDead)

	// Once more, while the first worker still drains.
	h.sends("slow-2", "/slow/2")
	await(t, "the second slow call", func() bool { return api.arrived("/slow/2") == 1 })
	h.judges(tasks.StateDone)
	w.reloads()
	h.sends("after", "/after")
	expect("after", tasks.StateDone)

	// A call ends under the policy with which it began.
	h.sends("slow-3", "/slow/3")
	await(t, "the third slow call", func() bool { return api.arrived("/slow/3") == 1 })
	api.letGo("/slow/1")
	expect("slow-1", tasks.StateDropped)
	w.awaitLog("the earlier configuration have ended")
	w.signal(syscall.SIGTERM) // with two workers that have a call on its way
	w.awaitLog("draining")
	api.letGo("/slow/2")
	api.letGo("/slow/3")
	if status := w.end(); status != exitOK {
		t.Errorf("exit status %d:\n%s", status, w.said)
	}
	expect("slow-2", tasks.StateDead)
	expect("slow-3", tasks.StateDone)
	for _, path := range []string{"/slow/1", "/slow/2", "/slow/3"} {
		if n := api.arrived(path); n != 1 {
			t.Errorf("%s arrived %d times", path, n)
		}
	}
	h.callq(exitOK, "audit")
}

func TestAReloadWithAMistakeChangesNothingAndNamesItsPlace(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	redis := h.onRedis(t)
	api := newAPI(t)
	config := fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./policy.yaml}}\n", api.url)
	h.write("callq.yaml", config)
	h.judges(tasks.StateDropped)
	w := startWorker(t, h)

	policy := h.read("policy.yaml")
	for _, bad := range []struct {
		file, text string
		words      []string
	}{
		{"callq.yaml", "upstreams:\n  sim:\n    base_url: " + api.url + "\n    policy: patsnap\n    timeout: soon\n    colour: red\n", []string{
			"callq.yaml:5:14: ", "callq.yaml:6:5: ",
		}},
		{"callq.yaml", "upstreams: {sim: {base_url: \"http://x\", policy: ./none.yaml}}\n", []string{"callq.yaml:1:49: ", "none.yaml"}},
		{"callq.yaml", "upstreams: {sim: {base_url: \"http://x\", policy: http, auth: {type: bearer, token: \"${file:none}\"}}}\n", []string{"callq.yaml:1:", "none"}},
		{"callq.yaml", "upstreams: {sim: {base_url: \"https://x\", policy: http, tls: {ca: callq.yaml}}}\n", []string{"tls.ca", "no PEM"}},
		{"callq.yaml", "{}\n", []string{"no upstream is configured"}},
		{"callq.yaml", strings.Replace(config, "\n", "", 1) + "\nadmin: {tokens: [{name: a, role: viewer, token: \"${env:NONE}\"}]}\n", []string{"callq.yaml:2:", "NONE"}},
		{"policy.yaml", strings.Replace(policy, "job: drop", "job: explode", 1), []string{"policy.yaml:8:10: ", "explode"}},
	} {
		h.write("policy.yaml", policy)
		h.write("callq.yaml", config)
		h.write(bad.file, bad.text)
		w.refuses(bad.words...)
	}
	h.write("policy.yaml", policy)
	h.write("callq.yaml", config)
	h.sends("still", "/still")
	if got := h.state("still"); got != tasks.StateDropped {
		t.Errorf("the call is %q", got)
	}

	redis.Kill()
	w.refuses("Redis")
	redis.Restart()
	h.judges(tasks.StateDone)
	w.reloads()
	h.sends("again", "/again")
	if got := h.state("again"); got != tasks.StateDone {
		t.Errorf("the call is %q", got)
	}
	w.drains()
}

func TestAReloadAddsAndRemovesUpstreams(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	server := redistest.Redis(t)
	first, second := newAPI(t), newAPI(t)
	const token = "t0ken-of-the-admin-address"
	one := fmt.Sprintf("{base_url: %q, policy: ./policy.yaml}", first.url)
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams:\n  one: %s\nadmin: {tokens: [{name: ops, role: operator, token: %q}]}\n", server.URL, one, token))
	h.judges(tasks.StateDone)
	w := startWorker(t, h)
	h.sends("one", "/one")
	if got := h.state("one"); got != tasks.StateDone || first.arrived("/one") != 1 {
		t.Errorf("the call is %q", got)
	}

	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams:\n  one: %s\n  two: {base_url: %q, policy: ./policy.yaml}\nworker: {concurrency: 7}\nadmin: {listen: \"127.0.0.1:1\", tokens: [{name: ops, role: operator, token: %q}]}\n",
		server.URL, one, second.url, token))
	w.reloads()
	w.awaitLog("upstreams=[two]")
	w.awaitLog("concurrency=7")
	if strings.Contains(w.said.String(), "need a restart") {
		t.Errorf("an address from a flag is reported as changed:\n%s", w.said)
	}
	h.sends("two", "/two", "--upstream", "two")
	if got := h.state("two"); got != tasks.StateDone || second.arrived("/two") != 1 {
		t.Errorf("the call is %q", got)
	}

	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams:\n  two: {base_url: %q, policy: ./policy.yaml}\nadmin: {tokens: [{name: ops, role: operator, token: %q}]}\n",
		server.URL+"?db=1", second.url, token+"-2"))
	w.reloads()
	w.awaitLog("keys=\"[admin.tokens redis]\"")
	w.awaitLog("upstreams=[one]")
	if strings.Contains(w.said.String(), token) {
		t.Errorf("the token was logged:\n%s", w.said)
	}
	w.drains()
}

func TestAReloadStartsASchedule(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	config := "upstreams: {sim: {base_url: \"http://127.0.0.1:1\", policy: patsnap}}\n"
	h.write("callq.yaml", config)
	h.write("calls.jsonl", "{\"path\":\"/1\"}\n")
	w := startWorker(t, h)
	h.write("callq.yaml", config+"schedules: [{name: yearly, cron: \"0 0 1 1 *\", file: calls.jsonl}]\n")
	w.reloads()
	w.awaitLog("a schedule starts")
	w.drains()
}

func TestAClosedTerminalLetsARunDrain(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	api := newAPI(t)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./policy.yaml, concurrency: 1}}\n", api.url))
	h.judges(tasks.StateDone)
	h.write("calls.jsonl", "{\"path\":\"/slow/1\"}\n{\"path\":\"/2\"}\n")
	errs, signal, end := h.start("run", "calls.jsonl", "-o", "out")
	await(t, "the call", func() bool { return api.arrived("/slow/1")+api.arrived("/2") > 0 && api.arrived("/slow/1") == 1 })
	signal(syscall.SIGHUP)
	await(t, "the drain", func() bool { return strings.Contains(errs.String(), "stopping") })
	signal(syscall.SIGHUP) // as a shell does
	api.letGo("/slow/1")
	if status := end(); status != exitFailed && status != exitOK || !strings.Contains(h.read("out"), "/slow/1") {
		t.Errorf("exit status %d:\n%s\n%s", status, errs, h.read("out"))
	}
}
