package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// vault is an API that accepts some tokens, and counts what arrives.
type vault struct {
	url string

	mu       sync.Mutex
	accepts  map[string]bool
	arrivals map[string]int // by path
	used     map[string]int // by token
	refused  int
	// gate, unless nil, is what calls wait for, and waiting how many do.
	gate    chan struct{}
	waiting int
}

func newVault(t *testing.T, tokens ...string) *vault {
	t.Helper()
	v := &vault{arrivals: map[string]int{}, used: map[string]int{}}
	v.accept(tokens...)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		<-time.After(5 * time.Millisecond)
		v.mu.Lock()
		if gate := v.gate; gate != nil {
			v.waiting++
			v.mu.Unlock()
			select {
			case <-gate:
			case <-r.Context().Done():
			}
			v.mu.Lock()
		}
		v.arrivals[r.URL.Path]++
		v.used[token]++
		ok := v.accepts[token]
		if !ok {
			v.refused++
		}
		refused := v.refused
		v.mu.Unlock()
		switch {
		case ok:
			fmt.Fprint(w, `{"status":true,"data":1}`)
		case refused%2 == 0:
			w.WriteHeader(http.StatusUnauthorized)
		default:
			fmt.Fprint(w, `{"status":false,"error_code":67200003,"error_msg":"bad token"}`)
		}
	}))
	t.Cleanup(server.Close)
	v.url = server.URL
	return v
}

func (v *vault) accept(tokens ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.accepts = map[string]bool{}
	for _, token := range tokens {
		v.accepts[token] = true
	}
}

// holdBack makes the next calls wait until the gate that it returns is closed, and
// returns once so many wait.
func (v *vault) holdBack(t *testing.T, calls int) (gate chan struct{}) {
	t.Helper()
	v.mu.Lock()
	v.gate, v.waiting = make(chan struct{}), 0
	gate = v.gate
	v.mu.Unlock()
	await(t, "calls that wait", func() bool {
		v.mu.Lock()
		defer v.mu.Unlock()
		return v.waiting == calls
	})
	return gate
}

func (v *vault) letGo(gate chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gate = nil
	close(gate)
}

func (v *vault) uses(token string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.used[token]
}

// most is how often the path that arrived most often did.
func (v *vault) most() (paths, most int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.arrivals {
		most = max(most, n)
	}
	return len(v.arrivals), most
}

func TestRotatingATokenFileUnderLoadLosesNoCall(t *testing.T) {
	t.Parallel()
	const calls = 500
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	v := newVault(t, "token-1")
	h.write("token", "token-1\n")
	old := time.Unix(1_700_000_000, 0)
	if err := os.Chtimes(h.file("token"), old, old); err != nil {
		t.Fatal(err)
	}
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, concurrency: 8, auth: {type: bearer, token: \"${file:token}\"}}}\n", v.url))
	var lines strings.Builder
	for i := range calls {
		fmt.Fprintf(&lines, "{\"path\":\"/%d\"}\n", i)
	}
	h.write("calls.jsonl", lines.String())
	w := startWorker(t, h)
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")

	// The usual rotation: the API accepts both for a while. No call is refused.
	await(t, "calls with the first token", func() bool { return v.uses("token-1") >= 50 })
	v.accept("token-1", "token-2")
	h.write("token.new", "token-2\n")
	if err := os.Rename(h.file("token.new"), h.file("token")); err != nil {
		t.Fatal(err)
	}
	await(t, "calls with the second token", func() bool { return v.uses("token-2") >= 50 })

	// As it should not be: the old one is worth nothing from one moment to the
	// next, and only its content shows that the file has changed.
	info, err := os.Stat(h.file("token"))
	if err != nil {
		t.Fatal(err)
	}
	at := info.ModTime().Add(-time.Hour)
	if err := os.Chtimes(h.file("token"), at, at); err != nil {
		t.Fatal(err)
	}
	// The file is not looked at while all calls that may be on their way are.
	await(t, "more calls with the second token", func() bool { return v.uses("token-2") >= 150 })
	gate := v.holdBack(t, 8)
	f, err := os.OpenFile(h.file("token"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("token-3\n"); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(h.file("token"), at, at); err != nil {
		t.Fatal(err)
	}
	v.accept("token-3")
	v.letGo(gate)

	out, _ := h.callq(exitOK, "batch", "wait", "b")
	if !strings.Contains(out, "500 done") {
		t.Errorf("got %s", out)
	}
	if paths, most := v.most(); paths != calls || most > 2 {
		t.Errorf("%d calls arrived, one %d times", paths, most)
	}
	if v.refused != 8 || v.uses("token-3") < 9 {
		t.Errorf("%d were refused, %d used the third token", v.refused, v.uses("token-3"))
	}
	w.drains()
}

func TestACallWithARefusedTokenIsReplayedOnlyIfTheFileChanged(t *testing.T) {
	t.Parallel()
	redistest.Binary(t)
	h := newHome(t, filepath.Dir(program(t)))
	h.onRedis(t)
	v := newVault(t, "token-2")
	h.write("token", "token-1\n")
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap, auth: {type: bearer, token: \"${file:token}\"}}}\n", v.url))
	h.write("calls.jsonl", "{\"path\":\"/1\"}\n")
	h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	if paths, most := v.most(); paths != 1 || most != 1 {
		t.Errorf("%d calls arrived, one %d times: a token that is the same was tried again", paths, most)
	}
	h.write("token", "token-2\n")
	h.callq(exitOK, "run", "calls.jsonl", "-o", "out", "--redo", "dead")
	if paths, most := v.most(); paths != 1 || most != 2 {
		t.Errorf("%d calls arrived, one %d times", paths, most)
	}
}
