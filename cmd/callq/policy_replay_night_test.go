package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/policy/replay"
	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

// nightSize is how many calls a night has: CALLQ_NIGHT, see make night.
func nightSize() int {
	if n, err := strconv.Atoi(os.Getenv("CALLQ_NIGHT")); err == nil {
		return n
	}
	return 300
}

// night is a batch of calls that the program makes. The simulated API's answer to each
// attempt of a call is fixed.
type night struct {
	*home
	cmd       *exec.Cmd
	out, errs *bytes.Buffer
	began     time.Time
	took      time.Duration
	batch     string
	mu        sync.Mutex
	// arrivals are the requests that the API got and ends the results, by key.
	arrivals map[string]int
	ends     map[string]tasks.Result
}

// startNight begins to make the calls with policies, by the upstream's name. The files are
// in testdata/night.
func startNight(t *testing.T, calls []string, answers string, policies map[string]string) *night {
	t.Helper()
	n := &night{home: newHome(t, filepath.Dir(redistest.Binary(t))), arrivals: map[string]int{}, ends: map[string]tasks.Result{}}
	sim := simapi.New(simapi.Config{Seed: 7, Script: simapi.MustParseScript(answers)})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("X-Key"); key != "" && r.URL.Path != "/moved" {
			n.mu.Lock()
			n.arrivals[key]++
			n.mu.Unlock()
		}
		sim.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		_ = sim.Close()
		server.Close()
	})
	files, err := filepath.Glob("testdata/night/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("got %v and %v", files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		n.write(filepath.Base(file), string(text))
	}
	config := "upstreams:\n"
	for name, file := range policies {
		config += fmt.Sprintf("  %s: {base_url: %q, policy: %q, timeout: 2s, max_body: 64KiB, concurrency: 32}\n", name, server.URL, "./"+file)
	}
	n.write("callq.yaml", config)
	n.write("calls.jsonl", strings.Join(calls, "\n"))
	n.began = time.Now()
	n.cmd, n.out, n.errs = n.command("run", "calls.jsonl", "-o", "out.jsonl", "--quiet")
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return n
}

// nightCall is a call as a line. Some have a precondition, which makes a 304 a success.
func nightCall(i int, upstream, path string) string {
	method, condition := "GET", ""
	if i/2%3 == 0 {
		method = "POST"
	}
	if i/2%2 == 0 {
		condition = `,"If-None-Match":"\"1\""`
	}
	return fmt.Sprintf(`{"key":"k%d","upstream":%q,"method":%q,"path":%q,"headers":{"X-Key":"k%d"%s}}`, i, upstream, method, path, i, condition)
}

// end waits until all calls have ended, and reads the results and the name of the batch.
func (n *night) end(t *testing.T) {
	t.Helper()
	n.ended(n.cmd.Wait(), exitFailedCalls, n.out, n.errs, n.cmd.Args)
	n.took = time.Since(n.began)
	for r, err := range tasks.ReadResults(strings.NewReader(n.read("out.jsonl"))) {
		if err != nil {
			t.Fatal(err)
		}
		n.ends[r.Key] = r
	}
	out, _ := n.callq(exitOK, "batch", "list", "--json")
	var batches []struct{ Batch string }
	if err := json.Unmarshal([]byte(out), &batches); err != nil || len(batches) != 1 {
		t.Fatalf("got %v, %s", err, out)
	}
	n.batch = batches[0].Batch
}

// of are the results of an upstream's calls, and how many requests the API got.
func (n *night) of(upstream string) (ends map[string]tasks.Result, requests int) {
	ends = map[string]tasks.Result{}
	for key, r := range n.ends {
		if r.Upstream == upstream {
			ends[key] = r
			requests += n.arrivals[key]
		}
	}
	return ends, requests
}

// replayed replays the calls of one upstream by a policy.
func (n *night) replayed(t *testing.T, recorded, upstream, policy string) replayJSON {
	t.Helper()
	h := *n.home
	h.t = t
	out, _ := h.callq(exitOK, "policy", "replay", recorded, "-f", policy, "--upstream", upstream, "--json")
	var got replayJSON
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("got %v, %s", err, out)
	}
	return got
}

// A night's calls, judged by the policies that made them, end as they did. Judged by other
// policies they end as they do if they are made with those.
func TestANightReplayedByAPolicyEndsAsThatPolicyMakesIt(t *testing.T) {
	t.Parallel()
	answers, err := os.ReadFile("testdata/night/answers.txt")
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for i := range nightSize() {
		upstream := []string{"parcels", "patents"}[i%2]
		path := fmt.Sprintf("/%s/%d", upstream, i)
		switch {
		case i > 1000: // more trouble would take hours
		case i%100 == 99:
			upstream, path = "trouble", fmt.Sprintf("/trouble/denied/%d", i)
		case i%20 == 19:
			upstream, path = "trouble", fmt.Sprintf("/trouble/%d", i)
		}
		calls = append(calls, nightCall(i, upstream, path))
	}
	was := startNight(t, calls, string(answers), map[string]string{"parcels": "parcels.yaml", "patents": "patents.yaml", "trouble": "trouble.yaml"})
	then := startNight(t, calls, string(answers), map[string]string{"parcels": "parcels-changed.yaml", "patents": "patents-changed.yaml", "trouble": "trouble.yaml"})
	was.end(t)
	then.end(t)
	t.Logf("%d calls in %s, and by the changed policies in %s", len(calls), was.took.Round(time.Second), then.took.Round(time.Second))
	for _, upstream := range []string{"parcels", "patents", "trouble"} {
		t.Run(upstream+" by the same policy", func(t *testing.T) { was.checkSame(t, upstream) })
	}
	for _, upstream := range []string{"parcels", "patents"} {
		t.Run(upstream+" by a changed policy", func(t *testing.T) { was.checkChanged(t, then, upstream) })
	}
}

// checkSame checks that nothing differs by the policy that made the calls.
func (n *night) checkSame(t *testing.T, upstream string) {
	began := time.Now()
	ends, requests := n.of(upstream)
	got := n.replayed(t, n.batch, upstream, upstream+".yaml")
	if !got.Same || got.Calls != len(ends) || got.NotJudged != 0 || got.Unjudgeable != 0 || got.Saved != 0 || got.SentAgain != 0 {
		t.Errorf("got %+v", got)
	}
	if got.Requests > requests || got.Requests != requests && upstream != "trouble" {
		t.Errorf("%d requests are recorded, %d arrived", got.Requests, requests)
	}
	t.Logf("%d calls, %d requests, replayed in %s", got.Calls, got.Requests, time.Since(began).Round(time.Millisecond))
	if got := n.replayed(t, "./out.jsonl", upstream, upstream+".yaml"); len(got.Ends)+len(got.Perhaps)+len(got.Attempts) > 0 || got.Calls != len(ends) {
		t.Errorf("by the results: got %+v", got)
	}
}

// checkChanged compares what replay says of a changed policy with what it then made of the
// same calls.
func (n *night) checkChanged(t *testing.T, then *night, upstream string) {
	got := n.replayed(t, n.batch, upstream, upstream+"-changed.yaml")
	want, saved, again := n.differences(then, upstream)
	said := map[change]int{}
	for _, d := range got.Ends {
		if d.After.State == replay.Again {
			d.After = replay.End{State: replay.Again}
		}
		said[change{d.Before, d.After}] += d.Count
	}
	for c := range union(said, want) {
		if said[c] != want[c] {
			t.Errorf("%v became %v: replay says %d, then it was %d", c.before, c.after, said[c], want[c])
		}
	}
	if got.Saved != saved || got.SentAgain != again || got.Uncertain != 0 {
		t.Errorf("replay says that %d requests are saved, %d calls are sent again and %d are uncertain; then %d were saved and %d sent again",
			got.Saved, got.SentAgain, got.Uncertain, saved, again)
	}
	if len(want) < 3 || saved == 0 || again == 0 {
		t.Errorf("the policies do not differ enough: %v", want)
	}
	t.Logf("%d calls, %d kinds of differences, %d requests saved, %d calls sent again", got.Calls, len(want), saved, again)
}

type change struct{ before, after replay.End }

// differences are those between the ends of two nights, and the requests that the second
// one has saved. A call with more requests in the second one was sent again where the first
// one ended it.
func (n *night) differences(then *night, upstream string) (changes map[change]int, saved, again int) {
	changes = map[change]int{}
	ends, _ := n.of(upstream)
	for key, was := range ends {
		now := then.ends[key]
		c := change{endOf(was), endOf(now)}
		if more := then.arrivals[key] - n.arrivals[key]; more > 0 {
			again++
			c.after = replay.End{State: replay.Again}
		} else {
			saved -= more
		}
		if c.before != c.after {
			changes[c]++
		}
	}
	return changes, saved, again
}

func endOf(r tasks.Result) replay.End {
	return replay.End{State: string(r.State), Class: r.Class, Rule: r.Rule}
}

func union(a, b map[change]int) map[change]bool {
	all := map[change]bool{}
	for c := range a {
		all[c] = true
	}
	for c := range b {
		all[c] = true
	}
	return all
}
