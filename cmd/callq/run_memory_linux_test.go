package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/internal/programtest"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// largeAnswers serves answers of so many bytes, and holds none of them in memory.
func largeAnswers(t *testing.T, size int) string {
	t.Helper()
	length := 1 << 10
	if size > 1<<20 {
		length = 64 << 10 // by fewer writes
	}
	piece := []byte(`"` + strings.Repeat("x", length-3) + `",`)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		const begin, end = `{"status":true,"error_code":0,"data":[`, `""]}`
		w.Header().Set("Content-Length", strconv.Itoa(len(begin)+(size/len(piece))*len(piece)+len(end)))
		_, _ = io.WriteString(w, begin)
		for range size / len(piece) {
			_, _ = w.Write(piece)
		}
		_, _ = io.WriteString(w, end)
	}))
	t.Cleanup(api.Close)
	return api.URL
}

// TestRunDoesNotHoldLargeAnswersInMemory makes 64 calls at once whose answers are of
// 8 MiB. CALLQ_LARGE_CALLS is how many in all, 64 unless set.
func TestRunDoesNotHoldLargeAnswersInMemory(t *testing.T) {
	const size = 8<<20 - 64<<10
	calls := 64
	if n, err := strconv.Atoi(os.Getenv("CALLQ_LARGE_CALLS")); err == nil {
		calls = n
	}
	server := redistest.Redis(t)
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {api: {base_url: %q, policy: patsnap, concurrency: 64}}\n",
		server.URL, largeAnswers(t, size)))
	var lines strings.Builder
	for i := range calls {
		fmt.Fprintf(&lines, "{\"key\":\"k%d\",\"path\":\"/%d\"}\n", i, i)
	}
	h.write("calls.jsonl", lines.String())
	cmd, out, errs := h.command("run", "calls.jsonl", "-o", "out")
	cmd.Path = built(t)
	began := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	worker, tick := int64(0), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for running := true; running; {
		select {
		case err := <-ended:
			h.ended(err, exitOK, out, errs, cmd.Args)
			running = false
		case <-tick.C:
			worker = max(worker, peakOf(t, cmd.Process.Pid))
		}
	}
	info, err := server.Client.InfoMap(t.Context(), "memory", "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	peak, err := strconv.ParseInt(info["Memory"]["used_memory_peak"], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(info["Server"]["process_id"])
	t.Logf("%d answers of 8 MiB in %s: worker %d MiB, Redis %d MiB (its process %d MiB)", calls, time.Since(began).Round(time.Millisecond), worker>>20, peak>>20, peakOf(t, pid)>>20)
	if worker > 512<<20 {
		t.Errorf("the worker took %d MiB", worker>>20)
	}
	if peak > 256<<20 {
		t.Errorf("Redis took %d MiB", peak>>20)
	}
	results, err := os.Open(h.file("out"))
	if err != nil {
		t.Fatal(err)
	}
	defer results.Close()
	n, whole := 0, 0
	buf := make([]byte, 0, 16<<20)
	for {
		piece := make([]byte, 1<<20)
		k, err := results.Read(piece)
		buf = append(buf, piece[:k]...)
		for {
			i := bytes.IndexByte(buf, '\n')
			if i < 0 {
				break
			}
			n++
			if i > size {
				whole++
			}
			buf = append(buf[:0], buf[i+1:]...)
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if n != calls || whole != calls {
		t.Errorf("%d results, %d of them whole, of %d calls", n, whole, calls)
	}
}

// built is the program as it is released: the race detector would take several times
// the memory.
func built(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callq")
	if err := programtest.Build(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// peakOf is the most memory that a process has had, in bytes; 0 once it is gone.
func peakOf(t *testing.T, pid int) int64 {
	t.Helper()
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, found := strings.Cut(string(status), "VmHWM:")
	if !found {
		return 0
	}
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}
