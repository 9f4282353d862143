package waiting

import (
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/broker"
	"github.com/seed-2903acc3/callq/tasks/ledger"
	"github.com/seed-2903acc3/callq/tasks/redisinfo"
	"github.com/seed-2903acc3/callq/worker/circuit"
)

var now = time.Date(2026, 5, 4, 18, 0, 0, 0, time.Local)

// flowing is an upstream whose calls are made.
func flowing() Upstream {
	return Upstream{
		Name: "api", Configured: true, Open: -1, Workers: 1, Others: 1, Concurrency: 16,
		Account: circuit.Record{Name: circuit.Name{Upstream: "api"}, State: circuit.Closed},
		Queues:  []ledger.Waits{{Queue: "api", Pending: 5, Active: 3, Oldest: now.Add(-time.Minute)}},
	}
}

func TestEveryReasonNamesItsCauseItsTimesAndWhatToDo(t *testing.T) {
	open := func(u *Upstream, change func(*circuit.Record)) {
		r := &u.Account
		r.State, r.Reason, r.Class, r.Code, r.Message = circuit.Open, "quota", "quota", "67200001", "too many calls"
		r.Since, r.Until = now.Add(-time.Minute), now.Add(time.Hour)
		change(r)
	}
	delayed := func(first, last time.Duration, n int64) ledger.Delayed {
		return ledger.Delayed{N: n, First: now.Add(first), Last: now.Add(last)}
	}
	tail, err := broker.LastErrorTail("attempt 3: transient 68300005", now)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		kind   Kind
		change func(*Facts, *Upstream)
		want   string
	}{
		{Redis, func(f *Facts, _ *Upstream) {
			f.Redis = redisinfo.Explain(redisError("LOADING Redis is loading the dataset in memory"), "h:6379")
		}, "calls wait: Redis at h:6379: it is still loading its data; it ends when Redis answers again; try again in a moment"},
		{Redis, func(f *Facts, _ *Upstream) { f.Redis = redisinfo.Facts{Replica: true}.Refusal("h:6379") },
			"calls wait: Redis at h:6379: this server is a replica and takes no changes; it ends when Redis answers again; name the master in the URL, or use redis-sentinel:// to follow it"},
		{Redis, func(f *Facts, _ *Upstream) {
			f.Redis = redisinfo.Facts{EvictionPolicy: "noeviction", MaxMemory: 10, UsedMemory: 10}.Refusal("h:6379")
		}, "calls wait: Redis at h:6379: its memory is full; it ends when Redis answers again; raise maxmemory on the server, or export batches that ended and set ledger.bodies to drop"},
		{Clock, func(f *Facts, _ *Upstream) { f.Skew = -20 * time.Second },
			"calls wait: this machine's clock is 20s behind Redis's, and it takes no calls; it ends when they agree; set both by NTP, for example with timedatectl set-ntp true"},
		{NoUpstream, func(_ *Facts, u *Upstream) { u.Configured, u.Workers, u.Queues[0].Active = false, 0, 0 },
			"api: 5 calls wait: no worker, including this process, has the upstream api in its configuration, since 17:59:00; it ends when a worker makes them; put api under upstreams in callq.yaml again, or cancel the calls with callq batch cancel NAME"},
		{NoUpstream, func(_ *Facts, u *Upstream) { u.Configured, u.Workers, u.Others, u.Queues[0].Active = false, 0, 0, 0 },
			"api: 5 calls wait: this configuration has no upstream api, and no worker makes its calls, since 17:59:00; it ends when a worker makes them; put api under upstreams in callq.yaml again, or cancel the calls with callq batch cancel NAME"},
		{NoWorker, func(_ *Facts, u *Upstream) { u.Workers, u.Others, u.Queues[0].Active = 0, 0, 0 },
			"api: 5 calls wait: no worker is running, since 17:59:00; it ends when a worker makes them; start one with callq work"},
		{NoWorker, func(_ *Facts, u *Upstream) { u.Workers, u.Queues[0].Active = 0, 0 },
			"api: 5 calls wait: workers are running, but none has the upstream api in its configuration, since 17:59:00; it ends when a worker makes them; start one with callq work"},
		{Memory, func(f *Facts, _ *Upstream) {
			f.Bodies, f.MaxMemory, f.FullSince = 3<<29, 1<<30, now.Add(-time.Minute)
		}, "api: 5 calls wait: the results in Redis take 1.5 GiB, and ledger.max_memory is 1 GiB, since 17:59:00; it ends when results are exported to a file, or their retention is over; export batches with callq batch export NAME -o FILE, delete those that are no longer needed with callq batch delete NAME, or raise ledger.max_memory"},
		{Paused, func(_ *Facts, u *Upstream) { u.Queues[0].Paused, u.Queues[0].PausedAt = true, now.Add(-26*time.Hour) },
			"api: 5 calls wait: the queue api is paused by an operator, since 2026-05-03 16:00:00; it ends when it is resumed; resume it where it was paused (asynqmon)"},
		{Hold, func(_ *Facts, u *Upstream) { open(u, func(*circuit.Record) {}) },
			"api: 5 calls wait: held (quota: quota 67200001: too many calls), since 17:59:00, until 19:00:00; then one call tests whether it works again; wait, or callq circuit close 'api' --reason REASON"},
		{Hold, func(_ *Facts, u *Upstream) { open(u, func(r *circuit.Record) { r.Until = now }) },
			"api: 5 calls wait: held (quota: quota 67200001: too many calls), since 17:59:00; the next call tests whether it works again; wait, or callq circuit close 'api' --reason REASON"},
		{Hold, func(_ *Facts, u *Upstream) {
			open(u, func(r *circuit.Record) {
				r.Reason, r.Class, r.Code, r.Message, r.Who, r.Note = "operator", "", "", "", "ann@host", "invoice"
			})
		}, "api: 5 calls wait: held (operator: ann@host: invoice), since 17:59:00, until 19:00:00; then one call tests whether it works again; wait, or callq circuit close 'api' --reason REASON"},
		{Hold, func(_ *Facts, u *Upstream) {
			open(u, func(r *circuit.Record) { r.Reason, r.Class, r.Code, r.Message = "credential", "auth", "", "no" })
		}, "api: 5 calls wait: held (credential: auth: no), since 17:59:00, until 19:00:00; then one call tests whether it works again; renew the credential, or correct auth of the upstream; then callq circuit close 'api' --reason REASON"},
		{Unreachable, func(_ *Facts, u *Upstream) {
			open(u, func(r *circuit.Record) {
				r.Reason, r.Class, r.Code, r.Message = "credential", "config", "", "connection refused"
			})
		}, "api: 5 calls wait: held (credential: config: connection refused), since 17:59:00, until 19:00:00; then one call tests whether it works again; correct base_url, tls or auth of the upstream in callq.yaml; then callq circuit close 'api' --reason REASON"},
		{Probe, func(_ *Facts, u *Upstream) { open(u, func(r *circuit.Record) { r.Probing = true }) },
			"api: 5 calls wait: held (quota: quota 67200001: too many calls), a probe is in progress, since 17:59:00; its answer decides; wait, or callq circuit close 'api' --reason REASON"},
		{Limit, func(_ *Facts, u *Upstream) {
			u.Account.Limited, u.Account.LimitedBy, u.Account.LimitedText, u.Account.LimitTurns = now.Add(time.Hour), "limit", "5000/day", true
		}, "api: 5 calls wait: the limit 5000/day is used up, until 19:00:00; then calls start again; if the API allows more, reset the count with callq circuit close 'api' --reason REASON"},
		{Limit, func(_ *Facts, u *Upstream) {
			u.Account.Limited, u.Account.LimitedBy, u.Account.LimitedText = now.Add(time.Hour), "limit", "x-ratelimit-remaining of the API"
			u.Account.LimitTurns, u.Account.LimitOfAPI = true, true
		}, "api: 5 calls wait: the limit x-ratelimit-remaining of the API is used up, until 19:00:00; then calls start again; if the API allows more by now, let the next calls find out with callq circuit close 'api' --reason REASON"},
		{Limit, func(_ *Facts, u *Upstream) {
			u.Account.Limited, u.Account.LimitedBy, u.Account.LimitedText = now.Add(200*time.Second), "limit", "3/10m"
		}, "api: 5 calls wait: the limit 3/10m allows calls one by one, until 18:03:20; then the next call starts"},
		{Budget, func(_ *Facts, u *Upstream) {
			u.Account.Limited, u.Account.LimitedBy, u.Account.LimitedText, u.Account.LimitTurns = now.Add(48*time.Hour), "budget", "100 USD/month", true
		}, "api: 5 calls wait: the budget 100 USD/month is used up, until 2026-05-06 18:00:00; then calls start again; if the API allows more, reset the count with callq circuit close 'api' --reason REASON"},
		{LostLease, func(_ *Facts, u *Upstream) { u.Queues[0].Overdue, u.Queues[0].OverdueAt = 2, now.Add(-10*time.Second) },
			"api: 2 calls wait: the worker that had them was killed or has stopped, since 17:59:50; another worker takes them over within a minute"},
		{Concurrency, func(_ *Facts, u *Upstream) { u.Queues[0].Active = 16 },
			"api: 5 calls wait: 16 calls are in progress, here or in other processes, which is all that concurrency allows; the next starts when one of them ends; raise concurrency of the upstream if the API allows more"},
		{Fence, func(_ *Facts, u *Upstream) {
			u.Queues[0].Fence = ledger.FenceState{Life: "l", Shut: now.Add(-time.Second), Wait: 2 * time.Second}
		}, "api: calls wait: Redis was restarted or has failed over, and workers write back which calls were sent, since 17:59:59, until 18:00:02; then calls that must not be sent twice continue"},
		{Fence, func(_ *Facts, u *Upstream) {
			u.Queues[0].Fence = ledger.FenceState{Life: "l", Shut: now.Add(-time.Hour), Closed: true, Top: 5}
		}, "api: calls wait: Redis has gone back in time, and the worker that recorded which calls were sent is gone, since 17:00:00; calls that must not be sent twice wait until a person releases them; to list those that may have been sent: callq doctor; to release the calls: callq doctor --accept-restore"},
		{Endpoint, func(_ *Facts, u *Upstream) {
			u.Queues[0].Retry = delayed(time.Hour, time.Hour, 4)
			u.Endpoints = []circuit.Record{{Name: circuit.Name{Upstream: "api", Endpoint: "GET /a"}, State: circuit.Open, Reason: "permission", Class: "quota", Code: "67200004",
				Since: now.Add(-time.Minute), Until: now.Add(time.Hour)}}
		}, "api~GET~/a: calls wait: held (permission: quota 67200004), since 17:59:00, until 19:00:00; then one call tests whether it works again; wait, or callq circuit close 'api~GET~/a' --reason REASON"},
		{Backoff, func(_ *Facts, u *Upstream) {
			u.Queues[0].Retry = delayed(10*time.Second, time.Minute, 4)
			u.Queues[0].Retry.Message = tail
		}, "api: 4 calls wait: the next attempt comes after a pause (attempt 3: transient 68300005), the first until 18:00:10, the last until 18:01:00; then they are tried again"},
		{NotBefore, func(_ *Facts, u *Upstream) {
			at := time.Date(2099, 1, 1, 0, 0, 0, 0, time.Local)
			u.Queues[0].Scheduled = ledger.Delayed{N: 1, First: at, Last: at}
		}, "api: 1 call waits: not_before, until 2099-01-01 00:00:00; then the call is made; cancel it with callq batch cancel NAME if that is too late"},
	} {
		u := flowing()
		f := Facts{Now: now}
		tt.change(&f, &u)
		f.Upstreams = []Upstream{u}
		list := Decide(f)
		if len(list) == 0 || list[0].Kind != tt.kind {
			t.Errorf("got %+v, want the reason %s first", list, tt.kind)
			continue
		}
		if got := list[0].Text(now); got != tt.want {
			t.Errorf("%s: got\n\t%s, want\n\t%s", tt.kind, got, tt.want)
		}
	}
}

func TestThereIsNoReasonWhereCallsAreMadeOrNoneAreOpen(t *testing.T) {
	u := flowing()
	none := flowing()
	none.Queues[0] = ledger.Waits{Queue: "api"}
	none.Account.State, none.Workers = circuit.Open, 0
	ended := flowing() // the queue has calls of other batches only
	ended.Open, ended.Workers = 0, 0
	if got := Decide(Facts{Now: now, Upstreams: []Upstream{u, none, ended}}); len(got) > 0 {
		t.Errorf("got %+v, want no reason", got)
	}
}

func TestTheCommandsInAReasonNameTheRedisOfTheQuery(t *testing.T) {
	alone, held := flowing(), flowing()
	alone.Workers, alone.Queues[0].Active, held.Account.State = 0, 0, circuit.Open
	for _, tt := range []struct {
		u    Upstream
		want string
	}{
		{alone, "start one with callq work --redis R"},
		{held, "wait, or callq circuit close 'api' --reason REASON --redis R"},
	} {
		if got := Decide(Facts{Now: now, Where: " --redis R", Upstreams: []Upstream{tt.u}}); len(got) != 1 || got[0].Todo != tt.want {
			t.Errorf("got %+v, want one reason with Todo %q", got, tt.want)
		}
	}
}

func TestNoMoreCallsWaitThanTheBatchHasOpen(t *testing.T) {
	u := flowing()
	u.Open, u.Queues[0].Paused = 2, true
	if got := Decide(Facts{Now: now, Upstreams: []Upstream{u}}); len(got) != 1 || got[0].Calls != 2 {
		t.Errorf("got %+v, want one reason with 2 calls", got)
	}
}

func TestCallsThatAreDueMuchLaterAreAReasonWhileOthersAreMade(t *testing.T) {
	u := flowing()
	at := now.Add(1000 * time.Hour)
	u.Queues[0].Scheduled = ledger.Delayed{N: 3, First: now.Add(time.Hour), Last: at}
	got := Decide(Facts{Now: now, Upstreams: []Upstream{u}})
	if len(got) != 1 || !got[0].Some || !strings.Contains(got[0].Brief(now), "the first until 19:00:00, the last until "+at.Format(time.DateTime)) {
		t.Errorf("got %+v, want one reason with Some set and both times", got)
	}
}

// redisError is an answer of Redis that is an error.
type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

var _ redis.Error = redisError("")
