package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
)

// TestABatchOfAnySizeIsReceivedAndSentInBoundedMemory sends a batch to the HTTP API while its
// lines are made, and reads its results. CALLQ_BATCH_LINES is the number of lines, 20,000
// unless set; their bodies have 4 KiB, or few bytes if there are more than 100,000.
func TestABatchOfAnySizeIsReceivedAndSentInBoundedMemory(t *testing.T) {
	lines, body, most := 20_000, strings.Repeat("x", 4<<10), int64(100<<20)
	if n, err := strconv.Atoi(os.Getenv("CALLQ_BATCH_LINES")); err == nil {
		lines, most = n, 200<<20
	}
	if lines > 100_000 {
		body = "x"
	}
	server := redistest.Redis(t)
	h := newHome(t, filepath.Dir(program(t)))
	h.write("callq.yaml", fmt.Sprintf("redis: %q\nupstreams: {api: {base_url: \"http://127.0.0.1:1\", policy: http}}\n", server.URL))
	cmd, _, _ := h.command("admin", "--log-format=text", "--listen", "127.0.0.1:0")
	cmd.Path = built(t)
	log, _, _ := h.startCommand(cmd)
	address := regexp.MustCompile(`admin=(\S+)`)
	await(t, "the admin server", func() bool { return address.MatchString(log.String()) })
	url := address.FindStringSubmatch(log.String())[1]

	began := time.Now()
	r, w := io.Pipe()
	go func() {
		out := bufio.NewWriterSize(w, 64<<10)
		for i := range lines {
			// Every second line has no key, and is known by its content.
			key := ""
			if i%2 == 0 {
				key = fmt.Sprintf(`"key":"k%d",`, i)
			}
			fmt.Fprintf(out, `{%s"method":"POST","path":"/search/%d","body":{"q":%q}}`+"\n", key, i, body)
		}
		_ = w.CloseWithError(out.Flush())
	}()
	answer, err := http.Post(url+"v1/batches?name=large", "application/x-ndjson", r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var sent sent
	if err := json.NewDecoder(answer.Body).Decode(&sent); err != nil || answer.StatusCode != http.StatusAccepted || sent.Accepted != lines {
		t.Fatalf("got %d %+v, %v", answer.StatusCode, sent, err)
	}
	took := time.Since(began)
	received := peakOf(t, cmd.Process.Pid)
	t.Logf("received %d lines in %s, %.0f a second; the most memory was %d MiB", lines, took.Round(time.Millisecond), float64(lines)/took.Seconds(), received>>20)

	h.callq(exitOK, "batch", "cancel", "large", "--yes")
	began = time.Now()
	results, err := http.Get(url + "v1/batches/large/results")
	if err != nil {
		t.Fatal(err)
	}
	defer results.Body.Close()
	n := 0
	in := bufio.NewScanner(results.Body)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		n++
	}
	if in.Err() != nil || n != lines {
		t.Errorf("%d results, %v, want %d", n, in.Err(), lines)
	}
	all := peakOf(t, cmd.Process.Pid)
	t.Logf("sent %d results in %s; the most memory was %d MiB", n, time.Since(began).Round(time.Millisecond), all>>20)
	if all > most {
		t.Errorf("the admin server took %d MiB of memory, want at most %d", all>>20, most>>20)
	}
}
