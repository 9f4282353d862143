package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/notify/notifytest"
	"github.com/seed-2903acc3/callq/worker/simapi"
)

const aclPassword = "p@ss/w0rd?of#the%user"

// documentedACL is the line of the runbook that makes callq's user, as its words.
func documentedACL(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^ACL SETUSER callq .*$`).FindString(string(text))
	words := strings.Fields(line)
	i := slices.Index(words, ">PASSWORD")
	if i < 0 {
		t.Fatalf("the runbook has no line ACL SETUSER callq … >PASSWORD …: %q", line)
	}
	words[i] = ">" + aclPassword
	return words
}

// clusterACL are the words that the runbook adds for a Cluster.
func clusterACL(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/RUNBOOK.md")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("On a Cluster add `([^`]*)`").FindStringSubmatch(string(text))
	if found == nil {
		t.Fatal("the runbook does not say what to add on a Cluster")
	}
	return strings.Fields(found[1])
}

// command runs a command on Redis past the user.
func command(t *testing.T, n *redistest.Node, words ...string) any {
	t.Helper()
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	answer, err := n.Client.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%s: got %v", words, err)
	}
	return answer
}

// aclURL is how the user reaches the server.
func aclURL(t *testing.T, n *redistest.Node) string {
	t.Helper()
	u, err := url.Parse(n.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Path = url.UserPassword("callq", aclPassword), "/1"
	return u.String()
}

// refusedByACL is what Redis did not let its users do, save the one question that
// doctor asks and can do without, as the runbook says.
func refusedByACL(t *testing.T, n *redistest.Node) []string {
	t.Helper()
	entries, err := n.Client.ACLLog(t.Context(), 100).Result()
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Object == "config|get" {
			continue
		}
		list = append(list, fmt.Sprintf("%s %s %s by %s (%d times)", e.Reason, e.Context, e.Object, e.Username, e.Count))
	}
	return list
}

const aclScript = `GET /retry -> 68300008; ok
GET /quota -> 67200001 retry-after=1; ok
GET /held  -> 67200004 retry-after=1; ok
GET /bad   -> 68300004 forever
POST /lost -> reset-after forever
GET /slow  -> ok latency=300ms forever
`

const aclCalls = `{"key":"ok","path":"/ok"}
{"key":"high","path":"/ok","priority":"high","query":{"n":2}}
{"key":"low","path":"/ok","priority":"low","query":{"n":3}}
{"key":"retry","path":"/retry"}
{"key":"quota","path":"/quota"}
{"key":"held","path":"/held"}
{"key":"bad","path":"/bad"}
{"key":"lost","method":"POST","path":"/lost"}
{"key":"lost2","method":"POST","path":"/lost","body":1}
`

// aclHome is a folder whose callq.yaml uses all that keeps something in Redis.
func aclHome(t *testing.T, redisURL string) (h *home, sim *simapi.Server, r *notifytest.Receiver) {
	t.Helper()
	r = notifytest.New(t, notifytest.Secret)
	sim, api := simulate(t, simapi.Config{Script: simapi.MustParseScript(aclScript)})
	h = newHome(t, filepath.Dir(program(t)))
	h.env = append(h.env, "CALLQ_REDIS="+redisURL)
	h.write("callq.yaml", fmt.Sprintf(`upstreams:
  sim:
    base_url: %q
    policy: ./quick.yaml
    concurrency: 2
    limits: ["200/s burst 50", "100000/day", adaptive]
    budget: ["100 USD/day", "100000 calls/day"]
    cost: {per_call: 0.01, header: x-openapi-amount}
admin: {listen: "127.0.0.1:0"}
ledger: {retention: 168h, bodies: drop}
schedules:
  - {name: yearly, cron: "@yearly", file: calls.jsonl}
notify:
  - {name: ops, url: %q, secret: %q}
`, api, r.URL, notifytest.Secret))
	h.write("quick.yaml", "version: 1\nname: quick\nextends: patsnap\nbackoffs:\n  standard: {floor: 1ms, base: 1ms, cap: 10ms, attempts: 6}\n")
	h.write("calls.jsonl", aclCalls)
	h.write("slow.jsonl", strings.Repeat("{\"path\":\"/slow\"}\n", 12))
	h.write("later.jsonl", "{\"key\":\"a\",\"path\":\"/ok\",\"not_before\":\"2999-01-01T00:00:00Z\"}\n{\"key\":\"b\",\"path\":\"/ok\",\"not_before\":\"2999-01-01T00:00:00Z\"}\n")
	return h, sim, r
}

// everything has callq do all that it does with Redis, once.
func everything(t *testing.T, h *home, url string, r *notifytest.Receiver) {
	t.Helper()
	said, signal, end := h.start("work")
	_, stop, stopped := h.start("work")
	await(t, "the worker", func() bool { return strings.Contains(said.String(), "admin=http://") })
	admin := regexp.MustCompile(`admin=(\S+)`).FindStringSubmatch(said.String())[1]
	h.callq(exitFailedCalls, "send", "calls.jsonl", "--batch", "b", "--wait")
	h.callq(exitOK, "send", "calls.jsonl", "--batch", "b")
	h.callq(exitOK, "send", "slow.jsonl", "--wait") // the account has all calls in flight that it may
	h.callq(exitOK, "send", "GET", "/ok", "q=1", "--wait")
	h.callq(exitOK, "batch", "list")
	h.callq(exitOK, "batch", "status", "b")
	h.callq(exitFailedCalls, "batch", "wait", "b")
	h.callq(exitOK, "batch", "export", "b", "-o", "out")
	h.callq(exitOK, "batch", "export", "b", "--calls", "--state", "dead")
	h.callq(exitOK, "batch", "report", "b", "-o", "report.html", "--json")
	lost := tasks.TaskID("b", "lost")
	h.callq(exitOK, "dead", "groups")
	h.callq(exitOK, "dead", "list")
	h.callq(exitOK, "dead", "show", lost)
	h.callq(exitOK, "dead", "redrive", lost, "--yes")
	h.callq(exitFailedCalls, "batch", "wait", "b")
	h.callq(exitOK, "circuit", "open", "sim", "--for", "1h", "--reason", "test")
	h.callq(exitOK, "circuit", "list")
	h.callq(exitOK, "send", "later.jsonl", "--batch", "later")
	for _, path := range []string{"", "readyz", "asynqmon/"} {
		if status, body := get(t, admin+path); status != http.StatusOK {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	monitored(t, admin, lost)
	h.callq(exitOK, "send", "GET", "/ok", "q=2", "--batch", "orphaned", "--key", "a")
	orphan(t, url, tasks.TaskID("orphaned", "a"))
	h.callq(exitOK, "batch", "cancel", "later", "--yes")
	h.callq(exitOK, "dead", "purge", "--all", "--yes")
	r.Await("the circuit's event", func(got []notifytest.Delivery) bool {
		return slices.ContainsFunc(got, func(d notifytest.Delivery) bool { return d.Type == "circuit_opened" })
	})
	h.callq(exitOK, "circuit", "close", "sim", "--reason", "test")
	h.callq(exitOK, "audit")
	h.callq(exitFailed, "doctor")
	h.callq(exitOK, "doctor", "--mend")
	h.callq(exitOK, "batch", "wait", "orphaned")
	h.callq(exitFailedCalls, "run", "calls.jsonl", "-o", "run.out")
	stop(syscall.SIGTERM)
	if status := stopped(); status != exitOK {
		t.Errorf("the second worker ended with %d", status)
	}
	signal(syscall.SIGTERM)
	if status := end(); status != exitOK {
		t.Errorf("the worker ended with %d: %s", status, said)
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "Redis failed: no call starts") && !strings.Contains(line, "WRONGTYPE") { // WRONGTYPE is from the data that the test has corrupted
			t.Errorf("the worker logged an error: %s", line)
		}
	}
}

// orphan removes a waiting task from its list, and adds an id without a task to another list,
// as another program could do.
func orphan(t *testing.T, url, id string) {
	t.Helper()
	conn, err := redisconn.Open(t.Context(), url, redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := conn.Client.LRem(t.Context(), "asynq:{sim}:pending", 1, id).Result(); err != nil || n != 1 {
		t.Fatalf("remove task %s from its list: %d, %v", id, n, err)
	}
	if err := conn.Client.ZAdd(t.Context(), "asynq:{sim}:completed", redis.Z{Score: 1 << 40, Member: "ghost"}).Err(); err != nil {
		t.Fatal(err)
	}
}

// monitored reads all that asynqmon shows, and does with it what an
// operator may do there.
func monitored(t *testing.T, admin, dead string) {
	t.Helper()
	root := admin + "asynqmon/api/"
	for _, path := range []string{
		"queues", "queues/sim", "queue_stats", "servers", "scheduler_entries", "redis_info", "queues/sim/groups",
		"queues/sim/active_tasks", "queues/sim/pending_tasks", "queues/sim/scheduled_tasks", "queues/sim/retry_tasks",
		"queues/sim/archived_tasks", "queues/sim/completed_tasks", "queues/sim/tasks/" + tasks.TaskID("later", "a"),
	} {
		if status, body := get(t, root+path); status != http.StatusOK {
			t.Errorf("asynqmon %s: %d %s", path, status, body)
		}
	}
	for _, path := range []string{
		"queues/sim:pause", "queues/sim:resume", "queues/sim/scheduled_tasks/" + tasks.TaskID("later", "a") + ":run",
		"queues/sim/archived_tasks/" + tasks.TaskID("b", "lost2") + ":run",
	} {
		response, err := http.Post(root+path, "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if response.StatusCode >= http.StatusMultipleChoices {
			t.Errorf("asynqmon %s: %d %s", path, response.StatusCode, body)
		}
	}
}

// corrupt puts corrupt records into the queue.
func corrupt(t *testing.T, url string) {
	t.Helper()
	conn, err := redisconn.Open(t.Context(), url, redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	pipe := conn.Client.TxPipeline()
	pipe.Set(t.Context(), "callq:{sim}:c:corrupt", "no record", 0)
	pipe.HSet(t.Context(), "asynq:{sim}:t:corrupt", "msg", "no message", "state", "pending")
	pipe.LPush(t.Context(), "asynq:{sim}:pending", "corrupt")
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestTheDocumentedUserCanDoOnlyWhatCallqDoes(t *testing.T) {
	t.Parallel()
	node, _ := redistest.TLS(t)
	acl := documentedACL(t)
	command(t, node, acl...)
	h, sim, receiver := aclHome(t, aclURL(t, node))
	command(t, node, "CONFIG", "RESETSTAT")
	corrupt(t, aclURL(t, node))
	everything(t, h, aclURL(t, node), receiver)
	if sim.Stats().Arrivals == 0 {
		t.Error("no call was made")
	}
	used, err := node.Client.InfoMap(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	if list := refusedByACL(t, node); len(list) > 0 {
		t.Errorf("Redis refused:\n%s", strings.Join(list, "\n"))
	}
	for _, word := range acl {
		name, isCommand := strings.CutPrefix(word, "+")
		if _, calls := used["Commandstats"]["cmdstat_"+name]; isCommand && !calls {
			t.Errorf("%s is granted and was not needed", name)
		}
	}
}

// Scripts have branches that no test of a whole program goes through.
func TestEveryCommandOfEveryScriptIsGranted(t *testing.T) {
	granted := documentedACL(t)
	call := regexp.MustCompile(`redis\.p?call\(\s*['"](\w+)['"]`)
	seen := 0
	for _, pattern := range []string{"../../*/*/lua/*.lua", "internal/*/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range call.FindAllSubmatch(text, -1) {
				seen++
				if name := strings.ToLower(string(m[1])); !slices.Contains(granted, "+"+name) {
					t.Errorf("%s calls %s, which the runbook's line ACL SETUSER does not grant", file, name)
				}
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d calls were found: the scripts are elsewhere", seen)
	}
}

func TestTheDocumentedUserOfAClusterCanDoAllThatCallqDoes(t *testing.T) {
	t.Parallel()
	cluster := redistest.Cluster(t)
	more := clusterACL(t)
	acl := append(documentedACL(t), more...)
	for _, node := range cluster.Masters {
		command(t, node, acl...)
		command(t, node, "CONFIG", "RESETSTAT")
	}
	reached := strings.Replace(cluster.URL, "://", "://"+url.UserPassword("callq", aclPassword).String()+"@", 1)
	h, _, receiver := aclHome(t, reached)
	everything(t, h, reached, receiver)
	used := map[string]bool{}
	for _, node := range cluster.Masters {
		if list := refusedByACL(t, node); len(list) > 0 {
			t.Errorf("Redis refused:\n%s", strings.Join(list, "\n"))
		}
		stats, err := node.Client.InfoMap(t.Context(), "commandstats").Result()
		if err != nil {
			t.Fatal(err)
		}
		for name := range stats["Commandstats"] {
			used["+"+strings.TrimPrefix(name, "cmdstat_")] = true
		}
	}
	for _, word := range more {
		if !used[word] {
			t.Errorf("%s is asked for and was not needed", word)
		}
	}
}

func TestTheDocumentedUserCannotUseOtherKeys(t *testing.T) {
	t.Parallel()
	node := redistest.TCP(t)
	command(t, node, documentedACL(t)...)
	command(t, node, "SET", "other:secret", "x")
	conn, err := redisconn.Open(t.Context(), aclURL(t, node), redisconn.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, words := range [][]any{
		{"FLUSHALL"}, {"FLUSHDB"}, {"KEYS", "*"}, {"SCAN", "0"}, {"RANDOMKEY"}, {"CONFIG", "GET", "*"}, {"CONFIG", "SET", "maxmemory", "1"}, {"SHUTDOWN"}, {"ACL", "LIST"},
		{"ACL", "WHOAMI"}, {"CLIENT", "LIST"}, {"CLIENT", "KILL", "ID", "1"}, {"MONITOR"}, {"REPLICAOF", "127.0.0.1", "1"}, {"SCRIPT", "FLUSH"},
		{"FUNCTION", "FLUSH"}, {"SAVE"}, {"MODULE", "LIST"}, {"MIGRATE", "127.0.0.1", "1", "callq:x", "0", "1"}, {"SWAPDB", "0", "1"}, {"GET", "other:secret"}, {"SET", "other", "x"}, {"DEL", "other:secret"},
		{"EVAL", "return redis.call('GET', 'other:secret')", "0"}, {"EVAL", "return redis.call('FLUSHALL')", "0"}, {"PUBLISH", "other", "x"}, {"SUBSCRIBE", "other"},
	} {
		err := conn.Client.Do(t.Context(), words...).Err()
		var redisErr *redisinfo.Error
		if !errors.As(redisinfo.Explain(err, ""), &redisErr) || redisErr.Kind != redisinfo.KindPermission {
			t.Errorf("%v: got %v", words, err)
		}
	}
}

func TestEveryDocumentedKeyAndChannelIsNeeded(t *testing.T) {
	t.Parallel()
	node := redistest.TCP(t)
	h, _, _ := aclHome(t, aclURL(t, node))
	acl := documentedACL(t)
	for i, piece := range []string{"~asynq:*", "~callq:*", "&asynq:cancel", "&callq:news"} {
		command(t, node, "ACL", "DELUSER", "callq")
		command(t, node, "ACL", "LOG", "RESET")
		command(t, node, slices.DeleteFunc(slices.Clone(acl), func(word string) bool { return word == piece })...)
		h.write("one.jsonl", fmt.Sprintf("{\"path\":\"/ok?n=%d\"}\n", i))
		cmd, _, errs := h.command("run", "one.jsonl", "-o", fmt.Sprint("out", i))
		if err := cmd.Run(); err == nil && piece[0] == '~' {
			t.Errorf("without %s a call was made", piece)
		}
		if piece[0] == '~' && !strings.Contains(errs.String(), "RUNBOOK.md") {
			t.Errorf("without %s it does not say where it is written what to grant: %s", piece, errs)
		}
		list := refusedByACL(t, node)
		if !slices.ContainsFunc(list, func(line string) bool { return strings.Contains(line, " "+strings.TrimRight(piece[1:], "*")) }) {
			t.Errorf("without %s Redis refused only %q", piece, list)
		}
	}
}
