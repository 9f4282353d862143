package circuit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redisconn/redistest"
	"github.com/seed-2903acc3/callq/tasks/redislua"
	"github.com/seed-2903acc3/callq/worker/circuit"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// fill makes a server refuse all writes that need memory.
func fill(t *testing.T, node *redis.Client) {
	t.Helper()
	if err := node.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
}

// wantFull checks that the node of a key refuses a script whose first write needs memory.
func wantFull(t *testing.T, client redis.UniversalClient, key string) {
	t.Helper()
	err := client.Eval(t.Context(), "return redis.call('HSET', KEYS[1], 'f', 'v')", []string{key}).Err()
	if err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Fatalf("Redis is not full: %v", err)
	}
}

func TestReportsAreAppliedWhenRedisIsOutOfMemory(t *testing.T) {
	const probe = "token"
	hour := []time.Duration{time.Hour}
	cause := circuit.Cause{Reason: "quota", Hold: "quota", Code: "67200001"}
	for _, c := range []struct {
		name string
		// before runs while there is memory; then the report is sent.
		before func(d *fixture)
		on     circuit.Name
		report circuit.Report
		want   func(r circuit.Record) bool
	}{
		{"a hold is written", nil, account,
			circuit.Report{Verdict: circuit.OwnError, Delays: hour, Cause: cause},
			func(r circuit.Record) bool { return r.State == circuit.Open && r.Rung == 1 && r.Code == "67200001" }},
		{"a hold of an endpoint is written", nil, endpoint,
			circuit.Report{Verdict: circuit.OwnError, Delays: hour, Cause: cause},
			func(r circuit.Record) bool { return r.State == circuit.Open && r.Rung == 1 }},
		{"an adaptive rate is cut", nil, account,
			circuit.Report{Verdict: circuit.OwnError, Delays: hour, AdaptiveRate: limit.AdaptiveStart, Cause: cause},
			func(r circuit.Record) bool { return r.State == circuit.Open }},
		{"an error that does not open the circuit yet is counted", nil, account,
			circuit.Report{Verdict: circuit.OwnError, After: 3, Delays: hour, Cause: cause},
			func(r circuit.Record) bool { return r.State == circuit.Closed && r.Streak == 1 }},
		{"an answer resets the count",
			func(d *fixture) { d.report(account, circuit.Report{Verdict: circuit.OwnError, After: 3}) }, account,
			circuit.Report{Verdict: circuit.Answer},
			func(r circuit.Record) bool { return r.State == circuit.Closed && r.Streak == 0 }},
		{"a probe's answer closes", func(d *fixture) { d.out(probe) }, account,
			circuit.Report{Verdict: circuit.Answer, Epoch: 1, Token: probe},
			func(r circuit.Record) bool { return r.State == circuit.Closed && r.Epoch == 2 }},
		{"a refused probe takes the next rung", func(d *fixture) { d.out(probe) }, account,
			circuit.Report{Verdict: circuit.OwnError, Epoch: 1, Token: probe, Delays: hour, Cause: cause},
			func(r circuit.Record) bool { return r.State == circuit.Open && r.Rung == 2 }},
		{"a probe's fault opens the circuit again", func(d *fixture) { d.out(probe) }, account,
			circuit.Report{Verdict: circuit.Fault, Epoch: 1, Token: probe, Delays: hour},
			func(r circuit.Record) bool { return r.State == circuit.Open && r.Epoch == 2 && !r.Probing }},
		{"a probe that was not sent is returned", func(d *fixture) { d.out(probe) }, account,
			circuit.Report{Verdict: circuit.Unsent, Token: probe},
			func(r circuit.Record) bool { return r.State == circuit.Open && !r.Probing }},
		{"a later time from the server lengthens a hold",
			func(d *fixture) {
				d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Minute}})
			}, account,
			circuit.Report{Verdict: circuit.OwnError, ServerSaid: true, Delays: hour, Cause: cause},
			func(r circuit.Record) bool { return time.Until(r.Until) > 50*time.Minute }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			client := redistest.Redis(t).Client
			d := &fixture{Store: circuit.NewStore(client, "worker"), t: t, client: client}
			if c.before != nil {
				c.before(d)
			}
			fill(t, client)
			wantFull(t, client, redislua.CircuitKey("api", ""))
			d.report(c.on, c.report)
			if r := d.get(c.on); !c.want(r) {
				t.Errorf("the record is wrong: %+v", r)
			}
		})
	}
}

// out opens the account's circuit for a moment and sends the probe.
func (d *fixture) out(token string) {
	d.t.Helper()
	d.report(account, circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Millisecond}, Cause: circuit.Cause{Hold: "quota"}})
	d.probe(account, token)
}

func TestAnOperatorCanOpenAndCloseWhenRedisIsOutOfMemory(t *testing.T) {
	t.Parallel()
	client := redistest.Redis(t).Client
	d := &fixture{Store: circuit.NewStore(client, "worker"), t: t, client: client}
	fill(t, client)
	wantFull(t, client, redislua.CircuitKey("api", ""))
	if err := d.Open(t.Context(), account, time.Hour, "stop", "me"); err != nil {
		t.Errorf("open: %v", err)
	}
	if r := d.get(account); r.State != circuit.Open || r.Note != "stop" {
		t.Errorf("after the operator's open got %+v, want open with the note stop", r)
	}
	if err := d.Close(t.Context(), account, "go", "me"); err != nil {
		t.Errorf("close: %v", err)
	}
	if r := d.get(account); r.State != circuit.Closed {
		t.Errorf("after the operator's close got %+v, want closed", r)
	}
}

func TestAHoldReachesAllQueuesOfAClusterThatIsOutOfMemory(t *testing.T) {
	t.Parallel()
	c := redistest.Cluster(t)
	upstream := circuit.Name{Upstream: "patsnap"} // whose three queues live on three masters
	for _, addr := range c.Addrs {
		node := redis.NewClient(&redis.Options{Addr: addr})
		defer node.Close()
		fill(t, node)
	}
	queues := []string{"patsnap", "patsnap:high", "patsnap:low"}
	for _, queue := range queues {
		wantFull(t, c.Client, redislua.CircuitKey(queue, ""))
	}
	store := circuit.NewStore(c.Client, "worker")
	report := circuit.Report{Verdict: circuit.OwnError, Delays: []time.Duration{time.Hour}, Cause: circuit.Cause{Reason: "quota"}}
	if _, err := store.Report(t.Context(), upstream, report); err != nil {
		t.Fatal(err)
	}
	for _, queue := range queues {
		h, err := c.Client.HGetAll(t.Context(), redislua.CircuitKey(queue, "")).Result()
		if err != nil {
			t.Fatal(err)
		}
		if h["state"] != "open" || h["epoch"] != "1" {
			t.Errorf("the record for queue %s is %v, want open in epoch 1", queue, h)
		}
	}
}
