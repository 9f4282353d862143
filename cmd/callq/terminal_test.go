package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/hibiken/asynq"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// spiteful are words that clear a terminal, name its window, reorder its lines,
// and are no UTF-8.
const spiteful = "\x1b[2J\x1b]0;owned\x07\u009b31m\u202eevil\u2066\u2028\r\n\xff\xfe\xc3("

// spitefulAPI answers in such words, as far as HTTP and JSON let it.
func spitefulAPI(t *testing.T) string {
	t.Helper()
	words := strings.NewReplacer("\x1b", `\u001b`, "\x07", `\u0007`, "\r", `\r`, "\n", `\n`).Replace(spiteful)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Correlation-Id"] = []string{"id-\u009b31m\u202e\xff"}
		switch r.URL.Path {
		case "/quota":
			w.Header().Set("Retry-After", "3600")
			_, _ = fmt.Fprintf(w, `{"status":false,"error_code":67200004,"error_msg":"%s"}`, words)
		case "/code":
			_, _ = fmt.Fprintf(w, `{"status":false,"error_code":"%s","error_msg":"%s"}`, words, words)
		case "/ok":
			_, _ = fmt.Fprintf(w, `{"status":true,"data":"%s"}`, words)
		default:
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, spiteful)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// tame checks that output is text that does nothing to a terminal but fill it.
func tame(t *testing.T, what, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if at := strings.IndexFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return !unicode.IsPrint(r) }); at >= 0 || !utf8.ValidString(line) {
			t.Errorf("%s prints %q", what, line)
		}
	}
}

func TestAnAPIsTextCannotControlTheTerminal(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	server := h.onRedis(t)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: ./quick.yaml, auth: {type: bearer, token: \"${env:T}\"}}}\nadmin: {listen: \"127.0.0.1:0\"}\n", spitefulAPI(t)))
	h.env = append(h.env, "T=the-token")
	h.write("quick.yaml", "version: 1\nname: quick\nextends: patsnap\nbackoffs:\n  brief: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 2}\n")
	h.write("calls.jsonl", `{"key":"ok","path":"/ok"}`+"\n"+`{"key":"code","path":"/code"}`+"\n"+`{"key":"auth","path":"/auth"}`+"\n")
	out, errs := h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "out")
	tame(t, "run", out)
	tame(t, "run on stderr", errs)
	if text := h.read("out"); !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x07\r\u009b\u0085") {
		t.Errorf("the results hold %q", text)
	}

	// What somebody wrote to Redis, past all of that.
	id := tasks.TaskID("run-calls", "auth")
	l := ledger.New(server.Client)
	batches, err := l.Batches(t.Context())
	if err != nil || len(batches) != 1 {
		t.Fatalf("%d batches, %v", len(batches), err)
	}
	batch := batches[0].Name
	for r, err := range l.Dead(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		if r.Key == "auth" {
			id = r.ID
		}
	}
	ending, err := json.Marshal(ledger.Ending{Class: spiteful, Message: spiteful, UserMessage: spiteful, Advice: spiteful, Endpoint: spiteful, Rule: spiteful, CorrelationID: spiteful, Code: spiteful})
	if err != nil {
		t.Fatal(err)
	}
	record := "callq:{sim}:c:" + id
	for field, value := range map[string]any{
		"out": ending, "origin": "h 1795601455500 " + spiteful, "body": spiteful, "type": spiteful, "log": `[{"job":"\u001b[2J","class":"\u202e","correlation_id":"\u0007"}]`,
		"lineage": `[{"gen":1,"state":"\u001b[2J","ending":{"class":"\u001b[2J","error_code":"\u0007","finished_at":"2026-01-02T03:04:05Z"}}]`, "group": spiteful,
	} {
		if err := server.Client.HSet(t.Context(), record, field, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := server.Client.HSet(t.Context(), "callq:{sim}:circuit", "state", "open", "until", "99999999999999", "class", "quota", "message", spiteful, "code", spiteful,
		"correlation_id", spiteful, "reason", spiteful, "who", spiteful, "hold", spiteful).Err(); err != nil {
		t.Fatal(err)
	}
	if err := server.Client.SAdd(t.Context(), "callq:{sim}:circuits", "callq:{sim}:circuit~GET~/"+spiteful).Err(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"dead", "groups"}, {"dead", "list"}, {"dead", "show", id}, {"batch", "list"}, {"batch", "status", batch}, {"batch", "export", batch}, {"batch", "export", batch, "--calls"},
		{"circuit", "list"}, {"audit"}, {"doctor"}, {"dead", "redrive", "--all", "--dry-run"}, {"dead", "redrive", id, "--dry-run"},
	} {
		for _, more := range [][]string{nil, {"--json"}} {
			cmd, out, errs := h.command(append(args, more...)...)
			_ = cmd.Run() // audit and doctor find things
			what := strings.Join(append(args, more...), " ")
			if out.Len()+errs.Len() == 0 && args[0] != "batch" {
				t.Errorf("%s says nothing", what)
			}
			if len(more) > 0 { // JSON holds them in escapes, and what is not in ASCII as it is
				if text := out.String(); !utf8.ValidString(text) || strings.ContainsAny(text, "\x1b\x07\r") {
					t.Errorf("%s prints %q", what, text)
				}
				continue
			}
			if !slices.Contains(args, "export") { // a result is data, and may be written from right to left
				tame(t, what, out.String())
			}
			tame(t, what+" on stderr", errs.String())
		}
	}
}

func TestAnAPIsTextIsEscapedInLogsAndPages(t *testing.T) {
	t.Parallel()
	h := newHome(t, filepath.Dir(program(t)))
	server := h.onRedis(t)
	h.write("callq.yaml", fmt.Sprintf("upstreams: {sim: {base_url: %q, policy: patsnap}}\nadmin: {listen: \"127.0.0.1:0\"}\n", spitefulAPI(t)))
	said, signal, end := h.start("work")
	await(t, "the worker", func() bool { return strings.Contains(said.String(), "admin=http://") })
	admin := regexp.MustCompile(`admin=(\S+)`).FindStringSubmatch(said.String())[1]
	h.callq(exitFailedCalls, "send", "GET", "/auth", "--key", "auth", "--batch", "b", "--wait")
	h.callq(exitOK, "send", "GET", "/quota", "--key", "quota", "--batch", "b")
	store := circuit.NewStore(server.Client, "test")
	await(t, "the endpoint's circuit", func() bool {
		r, err := store.Get(t.Context(), circuit.Name{Upstream: "sim", Endpoint: "GET /quota"})
		return err == nil && r.State == circuit.Open
	})
	await(t, "its line in the log", func() bool { return strings.Contains(said.String(), "reason=permission") })
	status, page := get(t, admin)
	if status != http.StatusOK || !utf8.ValidString(page) || strings.ContainsAny(page, "\x1b\x07") || !strings.Contains(page, "/quota") {
		t.Errorf("the page: %d %q", status, page)
	}
	// asynq keeps the last error in protobuf, which wants UTF-8.
	archived, err := asynq.NewInspectorFromRedisClient(server.Client).ListArchivedTasks("sim")
	if err != nil || len(archived) != 1 || !strings.Contains(archived[0].LastErr, "callq") {
		t.Errorf("asynq's archive: %+v %v", archived, err)
	}
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("exit status %d", status)
	}
	tame(t, "the log", said.String())
}
