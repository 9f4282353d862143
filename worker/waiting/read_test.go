package waiting

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks"
	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

// send puts n calls of an upstream into a batch.
func send(t *testing.T, rdb redis.UniversalClient, batch string, n int, change func(*tasks.Call)) {
	t.Helper()
	p, err := tasks.NewProducer(rdb, tasks.ProducerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		c := tasks.Call{Batch: batch, Key: fmt.Sprintf("k%d", i), Upstream: "api", Path: "/x"}
		if change != nil {
			change(&c)
		}
		if _, err := p.Submit(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}
}

// must runs a command on Redis.
func must(t *testing.T, rdb redis.UniversalClient, words ...any) any {
	t.Helper()
	v, err := rdb.Do(t.Context(), words...).Result()
	if err != nil {
		t.Fatalf("%v: %v", words, err)
	}
	return v
}

// why reads the facts, decides, and returns the first reason's text.
func why(t *testing.T, rdb redis.UniversalClient, q Query) (Reason, string) {
	t.Helper()
	f, err := Read(t.Context(), rdb, q)
	if err != nil {
		t.Fatal(err)
	}
	list := Decide(f)
	if len(list) == 0 {
		return Reason{}, ""
	}
	return list[0], list[0].Text(f.Now)
}

// ofBatches is the query of a process whose configuration has the upstream.
func ofBatches(batches ...string) Query {
	return Query{Configured: map[string]int{"api": 4}, Batches: batches}
}

func TestReadFindsEveryReasonInRedis(t *testing.T) {
	later := time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)
	account := circuit.Name{Upstream: "api"}
	report := func(t *testing.T, rdb redis.UniversalClient, n circuit.Name, c circuit.Cause) {
		t.Helper()
		_, err := circuit.NewStore(rdb, "w").Report(t.Context(), n, circuit.Report{
			Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}, Cause: c,
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	putOff := func(t *testing.T, rdb redis.UniversalClient) {
		t.Helper()
		id := must(t, rdb, "LPOP", "asynq:{api}:pending").(string)
		must(t, rdb, "ZADD", "asynq:{api}:retry", time.Now().Add(time.Hour).Unix(), id)
	}
	for _, tt := range []struct {
		kind Kind
		do   func(*testing.T, redis.UniversalClient)
		want string
	}{
		{Paused, func(t *testing.T, rdb redis.UniversalClient) {
			must(t, rdb, "SET", "asynq:{api}:paused", time.Now().Unix())
		}, "api: 3 calls wait: the queue api is paused by an operator, since "},
		{Paused, func(t *testing.T, rdb redis.UniversalClient) { must(t, rdb, "SET", "asynq:{api}:paused", 1) }, "api: 3 calls wait: the queue api is paused by an operator; it ends"},
		{NotBefore, func(t *testing.T, rdb redis.UniversalClient) {
			send(t, rdb, "late", 1, func(c *tasks.Call) { c.NotBefore = &later })
		}, "api: 1 call waits: not_before, until " + later.Local().Format(time.DateTime)},
		{Backoff, putOff, "api: 1 call waits: the next attempt comes after a pause, until "},
		{NoWorker, func(t *testing.T, rdb redis.UniversalClient) { must(t, rdb, "DEL", "asynq:servers") }, "api: 3 calls wait: no worker is running, since "},
		{NoWorker, func(t *testing.T, rdb redis.UniversalClient) {
			must(t, rdb, "DEL", "asynq:servers")
			redistest.Heartbeat(t, rdb, "w", "other")
		}, "api: 3 calls wait: workers are running, but none has the upstream api"},
		{Hold, func(t *testing.T, rdb redis.UniversalClient) {
			report(t, rdb, account, circuit.Cause{Reason: "quota", Class: "quota", Code: "67200001", Message: "too many calls"})
		}, "api: 3 calls wait: held (quota: quota 67200001: too many calls), since "},
		{Unreachable, func(t *testing.T, rdb redis.UniversalClient) {
			report(t, rdb, account, circuit.Cause{Reason: "credential", Class: "config", Message: "connection refused"})
		}, "api: 3 calls wait: held (credential: config: connection refused), since "},
		{Probe, func(t *testing.T, rdb redis.UniversalClient) {
			report(t, rdb, account, circuit.Cause{Reason: "quota", Class: "quota"})
			must(t, rdb, "HSET", "callq:{api}:circuit", "token", "t", "lease", time.Now().Add(time.Hour).UnixMilli())
		}, "api: 3 calls wait: held (quota: quota), a probe is in progress, since "},
		{Limit, func(t *testing.T, rdb redis.UniversalClient) {
			must(t, rdb, "HSET", "callq:{api}:circuit", "limited", time.Now().Add(time.Hour).UnixMilli(), "limited_by", "limit", "limited_text", "5000/day", "limited_turn", "1")
		}, "api: 3 calls wait: the limit 5000/day is used up, until "},
		{Budget, func(t *testing.T, rdb redis.UniversalClient) {
			must(t, rdb, "HSET", "callq:{api}:circuit", "limited", time.Now().Add(time.Hour).UnixMilli(), "limited_by", "budget", "limited_text", "1 USD/day", "limited_turn", "1")
		}, "api: 3 calls wait: the budget 1 USD/day is used up, until "},
		{LostLease, func(t *testing.T, rdb redis.UniversalClient) {
			id := must(t, rdb, "LPOP", "asynq:{api}:pending").(string)
			must(t, rdb, "RPUSH", "asynq:{api}:active", id)
			must(t, rdb, "ZADD", "asynq:{api}:lease", time.Now().Add(-time.Minute).Unix(), id)
		}, "api: 1 call waits: the worker that had them was killed or has stopped, since "},
		{Fence, func(t *testing.T, rdb redis.UniversalClient) {
			must(t, rdb, "HSET", "callq:{api}:fence", "top", 7, "since", 1, "shut", time.Now().UnixMilli())
			must(t, rdb, "HDEL", "callq:{api}:fence", "open")
		}, "api: calls wait: Redis has gone back in time, and the worker that recorded which calls were sent is gone, since "},
		{Concurrency, func(t *testing.T, rdb redis.UniversalClient) {
			for i := range 4 {
				must(t, rdb, "RPUSH", "asynq:{api}:active", i)
			}
		}, "api: 3 calls wait: 4 calls are in progress, here or in other processes, which is all that concurrency allows"},
		{Endpoint, func(t *testing.T, rdb redis.UniversalClient) {
			report(t, rdb, circuit.Name{Upstream: "api", Endpoint: "GET /x"}, circuit.Cause{Reason: "permission", Class: "quota", Code: "67200004"})
			putOff(t, rdb)
		}, "api~GET~/x: calls wait: held (permission: quota 67200004), since "},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			rdb, _ := redistest.Mini(t)
			send(t, rdb, "b", 3, nil)
			redistest.Heartbeat(t, rdb, "w", "api", "api:high", "api:low")
			if r, text := why(t, rdb, ofBatches()); text != "" {
				t.Fatalf("before: %+v: %s", r, text)
			}
			tt.do(t, rdb)
			r, text := why(t, rdb, ofBatches())
			if r.Kind != tt.kind || !strings.HasPrefix(text, tt.want) {
				t.Errorf("got %q: %s, want %q: %s…", r.Kind, text, tt.kind, tt.want)
			}
		})
	}
}

func TestAnUpstreamThatNoConfigurationHasIsAReason(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	send(t, rdb, "b", 3, nil)
	redistest.Heartbeat(t, rdb, "w", "other")
	q := Query{Configured: map[string]int{"other": 1}}
	for _, q.Here = range []bool{false, true} {
		if r, text := why(t, rdb, q); r.Kind != NoUpstream || !strings.HasPrefix(text, "api: 3 calls wait: no worker, including this process, has the upstream api in its configuration, since ") {
			t.Errorf("got %q: %s, want no_upstream", r.Kind, text)
		}
	}
}

func TestAQueryForABatchFindsOnlyItsReasons(t *testing.T) {
	rdb, _ := redistest.Mini(t)
	later := time.Now().Add(24 * time.Hour)
	send(t, rdb, "late", 2, func(c *tasks.Call) { c.NotBefore = &later })
	send(t, rdb, "b", 3, nil)
	redistest.Heartbeat(t, rdb, "w", "api")
	if r, text := why(t, rdb, ofBatches("b")); text != "" {
		t.Errorf("batch b: got %q: %s, want no reason", r.Kind, text)
	}
	if r, text := why(t, rdb, ofBatches("late")); r.Kind != NotBefore || r.Calls != 2 {
		t.Errorf("batch late: got %q: %s, want not_before for 2 calls", r.Kind, text)
	}
	if r, text := why(t, rdb, ofBatches("none")); text != "" {
		t.Errorf("a batch that does not exist: got %q: %s, want no reason", r.Kind, text)
	}
}

func TestAWrongClockIsAReasonWhereCallsAreMade(t *testing.T) {
	rdb, m := redistest.Mini(t)
	send(t, rdb, "b", 3, nil)
	m.SetTime(time.Now().Add(time.Minute))
	q := ofBatches()
	q.Here = true
	if r, text := why(t, rdb, q); r.Kind != Clock || !strings.Contains(text, "behind Redis's") {
		t.Errorf("got %q: %s, want clock, behind Redis", r.Kind, text)
	}
}

func TestARedisThatRefusesWritesIsAReason(t *testing.T) {
	t.Parallel()
	server := redistest.Redis(t)
	rdb := server.Client
	send(t, rdb, "b", 3, nil)
	must(t, rdb, "CONFIG", "SET", "maxmemory", "1")
	if r, text := why(t, rdb, ofBatches()); r.Kind != Redis || !strings.Contains(text, "its memory is full") {
		t.Errorf("got %q: %s, want redis, its memory is full", r.Kind, text)
	}
	must(t, rdb, "CONFIG", "SET", "maxmemory", "0")
	must(t, rdb, "CONFIG", "SET", "min-replicas-to-write", "1")
	if r, text := why(t, rdb, ofBatches()); r.Kind != Redis || !strings.Contains(text, "too few replicas") {
		t.Errorf("got %q: %s, want redis, too few replicas", r.Kind, text)
	}
	must(t, rdb, "CONFIG", "SET", "min-replicas-to-write", "0")
	snapshotsFail(t, rdb)
	if r, text := why(t, rdb, ofBatches()); r.Kind != Redis || !strings.Contains(text, "it cannot write its data to disk") {
		t.Errorf("got %q: %s, want redis, cannot write its data", r.Kind, text)
	}
	must(t, rdb, "CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
	must(t, rdb, "REPLICAOF", "127.0.0.1", "1")
	if r, text := why(t, rdb, ofBatches()); r.Kind != Redis || !strings.Contains(text, "replica") {
		t.Errorf("got %q: %s, want redis, a replica", r.Kind, text)
	}
	server.Kill()
	_, err := Read(context.Background(), rdb, ofBatches())
	if err == nil {
		t.Fatal("a killed server answered")
	}
	if list := Decide(Facts{Now: time.Now(), Redis: redisinfo.Explain(err, "h:1")}); len(list) != 1 || list[0].Kind != Redis {
		t.Errorf("got %+v, want one reason, redis", list)
	}
}

// snapshotsFail makes Redis try to write a snapshot where a folder has its name.
func snapshotsFail(t *testing.T, rdb redis.UniversalClient) {
	t.Helper()
	dir := must(t, rdb, "CONFIG", "GET", "dir").(map[any]any)["dir"].(string)
	if err := os.MkdirAll(filepath.Join(dir, "dump.rdb", "is a folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	must(t, rdb, "CONFIG", "SET", "save", "3600 1")
	must(t, rdb, "BGSAVE")
	for deadline := time.Now().Add(time.Minute); !strings.Contains(must(t, rdb, "INFO", "persistence").(string), "rdb_last_bgsave_status:err"); {
		if time.Now().After(deadline) {
			t.Fatal("the snapshot did not fail within a minute")
		}
		<-time.After(10 * time.Millisecond)
	}
}
